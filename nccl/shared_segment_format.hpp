#pragma once
// The memory that the ranks of one host share, byte by byte: a header, one slot a rank for signals, and one region a rank for
// data. Made by rank 0 in an anonymous file (memfd) of fixed size; it has no name, so nothing is left behind.
//
//   0       header, 4096 bytes
//   4096    failure word, 256 bytes
//   4352    slot of rank 0, 256 bytes; slot of rank 1; ...
//   then, from the next multiple of 2 MiB, for each rank: stage (2 halves), eager area (2 halves), arena; rounded to 2 MiB

#include "cluster/base/error.hpp"
#include "nccl/collective_types.hpp"
#include "nccl/gang_record.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

namespace flywheel::nccl {

inline constexpr std::array<char, 8> segment_magic{'F', 'W', 'G', 'A', 'N', 'G', '0', '1'};
/// One half of a rank's staging memory: what is copied at once when an array is not in the arena. Small
/// enough to stay in a cache, large enough that waiting for each other does not matter.
inline constexpr std::uint64_t stage_half_bytes = 1024 * 1024;
/// Arrays up to this size travel with the call itself: one signal instead of two.
inline constexpr std::uint64_t eager_bytes_max = 8 * 1024;

struct segment_header {
  std::array<char, 8> magic = segment_magic;
  std::uint32_t header_bytes = 0; ///< sizeof(segment_header): another build with another layout differs here
  std::uint32_t ranks = 0;
  std::uint64_t gang = 0;         ///< stable_hash of the gang's name
  std::uint64_t generation = 0;
  std::uint64_t arena_bytes = 0;  ///< of each rank, a multiple of 4096
  std::uint64_t data_offset = 0;  ///< of rank 0's region
  std::uint64_t region_bytes = 0; ///< of each rank
  std::uint64_t total_bytes = 0;
};

/// What a rank is about to do; two of them, used in turn, so that a slow peer can still read the one before.
struct alignas(64) posted_call {
  std::uint64_t sequence = 0;
  std::uint64_t count = 0;
  std::uint64_t offset = 0; ///< of the array within the rank's arena, or not_in_arena
  collective what = collective::barrier;
  element type = element::f32;
  reduction op = reduction::sum;
  std::int32_t root = 0;
};
inline constexpr std::uint64_t not_in_arena = ~std::uint64_t{0};

/// One rank's signals. `phase` counts the points the rank has reached; the futex that its peers wait on.
struct alignas(256) rank_slot {
  std::atomic<std::uint32_t> phase{0};
  std::atomic<std::uint32_t> waiters{0};
  std::atomic<std::uint64_t> sequence{0}; ///< of the collective it is in or was in last
  std::int32_t pid = 0;
  std::atomic<std::uint32_t> left{0};     ///< 1: its communicator was destroyed; it will reach nothing more
  std::array<posted_call, 2> calls{};
};
static_assert(sizeof(rank_slot) == 256 && std::atomic<std::uint32_t>::is_always_lock_free);

/// The gang's failure in one word, so that it is set by whoever is first and never half: kind 8 bits, rank + 1 12, seen_by + 1 12,
/// sequence 32 (its lower half).
std::uint64_t pack(const gang_failure& f) noexcept;
gang_failure unpack(std::uint64_t word) noexcept;

/// The header of a segment for this gang.
segment_header make_header(const gang_record& record) noexcept;
/// Is this the gang's segment, and as large as it says? protocol_violation, incompatible_version or stale_epoch otherwise.
/// `bytes` is what was read from its start, `file_bytes` the size of the file.
status check_segment(std::span<const std::byte> bytes, std::uint64_t file_bytes, const gang_record& record);

constexpr std::uint64_t failure_word_offset = 4096;
constexpr std::uint64_t slots_offset = 4352;
constexpr std::uint64_t region_offset(const segment_header& h, std::uint64_t rank) { return h.data_offset + rank * h.region_bytes; }
constexpr std::uint64_t eager_offset(const segment_header& h, std::uint64_t rank) { return region_offset(h, rank) + 2 * stage_half_bytes; }
constexpr std::uint64_t arena_offset(const segment_header& h, std::uint64_t rank) { return eager_offset(h, rank) + 2 * eager_bytes_max; }

} // namespace flywheel::nccl
