#pragma once
// Which checkpoints may go. Pure.

#include "checkpoints/checkpoint_id.hpp"

#include <cstdint>
#include <vector>

namespace flywheel {

struct retention_rule {
  std::uint32_t keep_last = 2;      ///< the newest so many; at least 1. Two, so that one damaged file loses one rung
  std::uint64_t keep_every = 0;     ///< besides, every step that is a multiple of this; 0: none
};

/// The steps to remove, oldest first. `steps` in any order.
std::vector<std::uint64_t> steps_to_remove(const retention_rule& rule, std::vector<std::uint64_t> steps);
/// The same for checkpoints of several attempts: a later attempt is newer whatever its step.
std::vector<checkpoint_id> checkpoints_to_remove(const retention_rule& rule, std::vector<checkpoint_id> present);

} // namespace flywheel
