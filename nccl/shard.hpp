#pragma once
// How an array is divided among ranks. Pure arithmetic, the same on all ranks.

#include <cstddef>

namespace flywheel::nccl {

/// Elements [begin, end).
struct shard {
  std::size_t begin = 0, end = 0;
  std::size_t size() const noexcept { return end - begin; }
  bool operator==(const shard&) const = default;
};

/// Shards start at multiples of this many elements, so that two ranks never write to one cache line (64 bytes of bf16).
inline constexpr std::size_t shard_grain = 32;

/// Part `index` of `parts` of an array of `count` elements: the parts cover it in order and without overlap; their sizes differ
/// by less than two grains, and the first is the longest. index < parts, parts > 0, grain > 0; some
/// parts are empty when there are fewer grains than parts.
shard shard_of(std::size_t count, std::size_t parts, std::size_t index, std::size_t grain = shard_grain) noexcept;

} // namespace flywheel::nccl
