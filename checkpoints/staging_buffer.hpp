#pragma once
// Memory for bytes on their way between tensors and disk: aligned for direct I/O, present before it is needed, reused.

#include "cluster/base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace flywheel {

inline constexpr std::uint64_t io_alignment = 4096;
constexpr std::uint64_t round_up_to_io(std::uint64_t bytes) noexcept { return (bytes + io_alignment - 1) / io_alignment * io_alignment; }
constexpr std::uint64_t round_down_to_io(std::uint64_t bytes) noexcept { return bytes / io_alignment * io_alignment; }

/// Move-only owner of zeroed, page-aligned memory, in huge pages where the system gives them. A training on a GPU may
/// register bytes() with the driver (cudaHostRegister) for as long as the object lives.
class staging_buffer {
public:
  staging_buffer() = default;
  /// Reserves and touches it all now, so that no later copy pays for page faults. out_of_memory if there is not enough.
  static result<staging_buffer> create(std::uint64_t bytes);
  ~staging_buffer();
  staging_buffer(staging_buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  staging_buffer& operator=(staging_buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  /// A multiple of io_alignment, at least what was asked for.
  std::span<std::byte> bytes() const noexcept { return {data_, size_}; }

private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

} // namespace flywheel
