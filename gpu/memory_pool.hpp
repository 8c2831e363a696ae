#pragma once
// Memory of a device, kept between uses: asking the driver costs a synchronisation, and a step asks for the same sizes
// again and again. Never holds more than its bound.

#include "cluster/base/error.hpp"

#include <cstdint>
#include <map>
#include <unordered_map>

namespace flywheel::gpu {

/// Where a pool gets its memory: a device, or the host.
class memory_source {
public:
  virtual ~memory_source() = default;
  /// At least 256-byte aligned, as the pool's own answers are then.
  virtual result<void*> take(std::uint64_t bytes) = 0;
  virtual void give_back(void* memory) = 0;
};

/// Not thread-safe: one per device and stream. What is released may be handed out again at once, so release it in the
/// order of the stream that used it.
class memory_pool {
public:
  /// `source` outlives the pool. `bound`: the most that is ever taken from it, in bytes, used and kept together.
  memory_pool(memory_source& source, std::uint64_t bound) : source_(source), bound_(bound) {}
  ~memory_pool();
  memory_pool(const memory_pool&) = delete;
  memory_pool& operator=(const memory_pool&) = delete;

  /// A kept block of up to twice the size, or a new one, for which kept ones are given back where the bound or the source
  /// demands it. out_of_memory says how much is in use. 0 bytes: null.
  result<void*> allocate(std::uint64_t bytes);
  /// `memory` came from allocate, or is null.
  void release(void* memory);
  /// Gives back everything that is not in use.
  void trim();

  std::uint64_t bound() const noexcept { return bound_; }
  std::uint64_t in_use() const noexcept { return in_use_; }
  std::uint64_t held() const noexcept { return held_; }        ///< in use and kept
  std::uint64_t held_max() const noexcept { return held_max_; }

private:
  void give_back_largest();

  memory_source& source_;
  std::uint64_t bound_, in_use_ = 0, held_ = 0, held_max_ = 0;
  std::multimap<std::uint64_t, void*> kept_;              ///< by size
  std::unordered_map<void*, std::uint64_t> used_;
};

} // namespace flywheel::gpu
