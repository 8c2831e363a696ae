#pragma once
// What the launcher tells each rank of a gang so that they find each other: one small text, the same for all but `rank`.
// Pure; the text is given to the worker in its environment (FLYWHEEL_GANG) or its task.

#include "cluster/base/error.hpp"
#include "nccl/backend_policy.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel::nccl {

inline constexpr int ranks_max = 256;
inline constexpr std::size_t gang_record_bytes_max = 64 * 1024;
/// Address space only; memory is used as it is touched.
inline constexpr std::uint64_t arena_bytes_max = std::uint64_t{1} << 40;

struct gang_record {
  std::string gang;              ///< a name (is_valid_name), unique in `folder`
  std::uint64_t generation = 1;  ///< grows with each attempt; ranks of an older generation are turned away
  int rank = 0;
  backend use = backend::shared_memory;
  /// Where the ranks meet: a folder only this user can enter, made and removed by the launcher; for gangs over several hosts
  /// one that all of them see. Absolute.
  std::string folder;
  /// How much memory each rank may ask of communicator::allocate() in all (shared memory only).
  std::uint64_t arena_bytes = std::uint64_t{1} << 30;
  std::vector<rank_place> members; ///< one per rank, by rank; for Gloo `host` is the address the others reach it at

  int size() const noexcept { return static_cast<int>(members.size()); }
  bool operator==(const gang_record&) const = default;
};

/// invalid_argument naming the field. encode() and every join check it.
status check(const gang_record& record);
/// The record as text, version 1; one field a line:
///   flywheel-gang 1 | gang NAME | generation N | rank N | backend NAME | folder PATH | arena_bytes N | member HOST cpu
///   (or gpu:N), one per rank in order | end
result<std::string> encode(const gang_record& record);
/// invalid_format naming the line, or incompatible_version. Fields stand in that order; anything else is refused.
result<gang_record> decode_gang_record(std::string_view text);

/// May a rank of generation `mine` join where `newest` has been seen? stale_epoch if it is older.
status admit_generation(std::string_view gang, std::uint64_t newest, std::uint64_t mine);

} // namespace flywheel::nccl
