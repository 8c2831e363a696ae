#pragma once
// The shared memory of a gang, mapped, and the descriptors that tell when a peer's process ends.
//
// Rank 0 makes an anonymous file of fixed, sealed size and listens on a socket in the gang's folder. The others connect and say
// who they are; when all have come, rank 0 sends each the file. The socket is removed then: a gang leaves nothing behind.

#include "cluster/base/clock.hpp"
#include "nccl/descriptor.hpp"
#include "nccl/shared_segment_format.hpp"

#include <vector>

namespace flywheel::nccl {

class shared_segment {
public:
  /// Errors as join_gang(). The segment's failure word may be set already when this returns.
  static result<shared_segment> join(const gang_record& record, mono_time deadline);
  shared_segment(shared_segment&& other) noexcept;
  shared_segment& operator=(shared_segment&&) = delete;
  ~shared_segment(); ///< unmaps

  const segment_header& header() const noexcept { return header_; }
  rank_slot& slot(int rank) const noexcept;
  std::atomic<std::uint64_t>& failure_word() const noexcept;
  std::byte* stage(int rank, std::uint64_t half) const noexcept {
    return base_ + region_offset(header_, static_cast<std::uint64_t>(rank)) + half * stage_half_bytes;
  }
  std::byte* eager(int rank, std::uint64_t half) const noexcept {
    return base_ + eager_offset(header_, static_cast<std::uint64_t>(rank)) + half * eager_bytes_max;
  }
  std::byte* arena(int rank) const noexcept { return base_ + arena_offset(header_, static_cast<std::uint64_t>(rank)); }
  /// Readable when the peer's process has ended; -1 for this rank itself.
  int exit_fd(int rank) const noexcept { return processes_[static_cast<std::size_t>(rank)].get(); }

private:
  shared_segment() = default;
  status map(const descriptor& file);
  status watch_peers(int rank);

  segment_header header_;
  std::byte* base_ = nullptr;
  std::vector<descriptor> processes_;
};

/// What a rank says when it connects, and what it is told; fixed size, no pointers. Public for the test that speaks it falsely.
struct segment_hello {
  std::array<char, 8> magic = segment_magic;
  std::uint64_t gang = 0, generation = 0;
  std::int32_t rank = 0, size = 0;
};
struct segment_answer {
  std::array<char, 8> magic = segment_magic;
  std::uint64_t generation = 0; ///< rank 0's
  std::int32_t accepted = 0;    ///< 1: the file comes with this message
  std::int32_t reserved = 0;
};
/// The socket's name within the gang's folder.
std::string segment_socket_name(const gang_record& record);

} // namespace flywheel::nccl
