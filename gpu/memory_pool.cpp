#include "gpu/memory_pool.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>
#include <string>

namespace flywheel::gpu {

namespace {
// Sizes are rounded up to this: the alignment of the driver's own answers, and fewer different sizes.
constexpr std::uint64_t granularity = 512;
} // namespace

memory_pool::~memory_pool() {
  FLYWHEEL_ASSERT(used_.empty(), "memory of a pool that is gone");
  trim();
}

void memory_pool::give_back_largest() {
  const auto last = std::prev(kept_.end());
  source_.give_back(last->second);
  held_ -= last->first;
  kept_.erase(last);
}

void memory_pool::trim() {
  while (!kept_.empty())
    give_back_largest();
}

result<void*> memory_pool::allocate(std::uint64_t bytes) {
  if (bytes == 0)
    return static_cast<void*>(nullptr);
  const auto refused = [&](const std::string& why) {
    return error{errc::out_of_memory,
                 std::to_string(bytes) + " bytes wanted, " + std::to_string(in_use_) + " in use of at most " + std::to_string(bound_) + why,
                 {}, "use a smaller batch"};
  };
  if (bytes > bound_ || in_use_ > bound_ - bytes)
    return refused("");
  const std::uint64_t size = std::min(bound_, (bytes + granularity - 1) / granularity * granularity);
  if (const auto fit = kept_.lower_bound(size); fit != kept_.end() && fit->first / 2 <= size) {
    void* memory = fit->second;
    used_.emplace(memory, fit->first);
    in_use_ += fit->first;
    kept_.erase(fit);
    return memory;
  }
  while (!kept_.empty() && held_ > bound_ - size)
    give_back_largest();
  if (held_ > bound_ - size)
    return refused("");
  auto memory = source_.take(size);
  while (!memory && !kept_.empty()) { // others use the device, too: what is kept here may be what is missing
    give_back_largest();
    memory = source_.take(size);
  }
  if (!memory)
    return refused(": " + memory.error().what);
  used_.emplace(*memory, size);
  in_use_ += size;
  held_ += size;
  held_max_ = std::max(held_max_, held_);
  return memory;
}

void memory_pool::release(void* memory) {
  if (memory == nullptr)
    return;
  const auto at = used_.find(memory);
  FLYWHEEL_ASSERT(at != used_.end(), "memory that this pool did not hand out, or twice");
  kept_.emplace(at->second, memory);
  in_use_ -= at->second;
  used_.erase(at);
}

} // namespace flywheel::gpu
