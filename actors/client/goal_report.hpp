#pragma once
// What a goal came to, read from its journal: for the end of `flywheel run`, for `describe` and for -o json. Pure.

#include "actors/conductor/goal_run.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace flywheel {

/// Everything as one record: state, times, metric with interval, families, model, rollout, dropped, steps.
nlohmann::json goal_report(const goal_run& run, const std::vector<event>& events);
/// The same for people.
std::string render_report(const nlohmann::json& report, bool colour);
/// The plan as `flywheel plan` and `flywheel run` show it.
std::string render_plan(const plan_graph& plan, const goal_spec& spec, bool colour);

} // namespace flywheel
