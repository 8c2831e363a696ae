#pragma once
// Drawing points of a search space; shared by the samplers of this folder.

#include "actors/hpo/sampler.hpp"
#include "cluster/base/random.hpp"

#include <optional>
#include <set>

namespace flywheel {

/// Uniform over the range, or over its logarithm. Integers: the nearest one, each with its own cell of width 1.
param_value draw_value(const param_range& r, random_source& random);
param_set draw_point(const search_space& space, random_source& random);
/// The history's points, each reduced to the parameters of `space`.
std::set<param_set> tried_points(const search_space& space, const sampler_history& history);
/// A point that is not in `seen`; nothing if there is none left.
std::optional<param_set> draw_unseen(const search_space& space, const std::set<param_set>& seen, random_source& random);
suggestion exhausted(const search_space& space);

} // namespace flywheel
