#pragma once
// Large arrays in the host's memory: parameters, gradients, moments, workspaces.

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace flywheel::gpu {

/// Owns `size` elements of zero. Aligned to a cache line, and large ones to 2 MiB with huge pages asked for: a step walks
/// through gigabytes, and a miss in the page tables for every 4 KiB costs more than the arithmetic of an optimiser.
/// Throws std::bad_alloc like std::vector. Moves, does not copy.
template <class T> class host_array {
  static_assert(std::is_trivially_copyable_v<T>);

public:
  host_array() = default;
  explicit host_array(std::size_t size) : size_(size) {
    if (size == 0)
      return;
    const bool large = size * sizeof(T) >= huge_page;
    const std::size_t alignment = large ? huge_page : cache_line;
    const std::size_t bytes = (size * sizeof(T) + alignment - 1) / alignment * alignment;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, bytes)));
    if (!data_)
      throw std::bad_alloc{};
#if defined(__linux__)
    if (large)
      static_cast<void>(madvise(data_.get(), bytes, MADV_HUGEPAGE)); // a hint: refused, it is only slower
#endif
    std::uninitialized_fill_n(data_.get(), size, T{});
  }

  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }
  std::span<T> span() noexcept { return {data(), size_}; }
  std::span<const T> span() const noexcept { return {data(), size_}; }

private:
  static constexpr std::size_t cache_line = 64, huge_page = std::size_t{2} << 20;
  struct release {
    void operator()(T* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<T, release> data_;
  std::size_t size_ = 0;
};

} // namespace flywheel::gpu
