#include "nccl/shard.hpp"

#include <algorithm>

namespace flywheel::nccl {

shard shard_of(std::size_t count, std::size_t parts, std::size_t index, std::size_t grain) noexcept {
  const std::size_t grains = count / grain + (count % grain != 0 ? 1 : 0);
  const std::size_t each = grains / parts, longer = grains % parts; // the first `longer` parts have one grain more
  const auto start = [&](std::size_t i) {
    const std::size_t g = i * each + std::min(i, longer);
    return g >= grains ? count : g * grain; // g * grain < count: no overflow
  };
  return {start(index), start(index + 1)};
}

} // namespace flywheel::nccl
