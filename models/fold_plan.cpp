#include "models/fold_plan.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/random.hpp"

#include <algorithm>
#include <numeric>

namespace flywheel {

std::vector<fold> plan_folds(task_type type, std::span<const double> target, std::uint32_t folds, std::uint64_t seed) {
  FLYWHEEL_ASSERT(folds >= 2 && target.size() >= folds, "each fold needs a row");
  auto random = random_source::derive(seed, "folds");
  std::vector<std::uint32_t> order(target.size());
  std::iota(order.begin(), order.end(), 0u);
  random.shuffle(order);
  // Neighbours after this sort are alike in the target; dealing them out in turn spreads each kind evenly.
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return target[a] < target[b]; });
  std::vector<std::uint32_t> turn(folds);
  std::iota(turn.begin(), turn.end(), 0u);
  std::vector<std::uint32_t> fold_of(target.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    // For a regression each deal is shuffled anew, else fold 0 would always get the smallest of its stratum.
    if (type == task_type::regression && i % folds == 0)
      random.shuffle(turn);
    fold_of[order[i]] = turn[i % folds];
  }
  std::vector<fold> plan(folds);
  for (std::uint32_t row = 0; row < target.size(); ++row) {
    for (std::uint32_t k = 0; k < folds; ++k)
      (fold_of[row] == k ? plan[k].validation : plan[k].train).push_back(row);
  }
  return plan;
}

} // namespace flywheel
