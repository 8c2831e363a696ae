#include "checkpoints/retention_policy.hpp"

#include <algorithm>

namespace flywheel {

std::vector<std::uint64_t> steps_to_remove(const retention_rule& rule, std::vector<std::uint64_t> steps) {
  std::sort(steps.begin(), steps.end());
  const std::size_t keep = std::max<std::uint32_t>(rule.keep_last, 1);
  steps.resize(steps.size() > keep ? steps.size() - keep : 0);
  if (rule.keep_every > 0)
    std::erase_if(steps, [&](std::uint64_t step) { return step % rule.keep_every == 0; });
  return steps;
}

std::vector<checkpoint_id> checkpoints_to_remove(const retention_rule& rule, std::vector<checkpoint_id> present) {
  std::sort(present.begin(), present.end());
  const std::size_t keep = std::max<std::uint32_t>(rule.keep_last, 1);
  present.resize(present.size() > keep ? present.size() - keep : 0);
  if (rule.keep_every > 0)
    std::erase_if(present, [&](const checkpoint_id& id) { return id.step % rule.keep_every == 0; });
  return present;
}

} // namespace flywheel
