#pragma once
// Which rows validate which fold. Pure.

#include "models/task.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace flywheel {

struct fold {
  std::vector<std::uint32_t> train, validation; ///< ascending row indices; together every row once
};

/// Stratified by class (regression: by rank of the target), so that folds differ by at most one row per class or
/// stratum. Depends on the seed and the target only: all trials of a study see the same folds and are paired.
/// folds >= 2 and at most the number of rows.
std::vector<fold> plan_folds(task_type type, std::span<const double> target, std::uint32_t folds, std::uint64_t seed);

} // namespace flywheel
