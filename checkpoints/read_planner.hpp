#pragma once
// From "these elements of these tensors" to "these blocks of these shards", whoever wrote them. Pure.

#include "checkpoints/manifest_format.hpp"

namespace flywheel {

/// Elements [range.begin, range.end) of a tensor, wanted at `into`, which has exactly their bytes.
struct read_request {
  std::string tensor;
  element_range range;
  std::span<std::byte> into;
};

/// A run of whole blocks of one part; of its bytes those from `skip` on are wanted, as many as `into` has.
struct read_task {
  std::uint32_t shard = 0;
  std::uint64_t offset = 0, bytes = 0;  ///< in the shard's file
  std::uint64_t first_block = 0;        ///< in the shard's block table
  std::uint64_t skip = 0;
  std::span<std::byte> into;            ///< empty: only verify
  const stored_tensor* tensor = nullptr;
};

inline constexpr std::uint64_t read_run_bytes = 4 * hash_block_bytes;

/// Only blocks that hold wanted elements are read. not_found: no such tensor (a near name is told); invalid_argument: beyond
/// its shape, or `into` has another size. The tasks point into `m` and the requests' memory.
result<std::vector<read_task>> plan_reads(const checkpoint_manifest& m, std::span<const read_request> requests);
/// Every block of every part, to be verified only.
std::vector<read_task> plan_verification(const checkpoint_manifest& m);

} // namespace flywheel
