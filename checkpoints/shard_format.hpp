#pragma once
// The first 4096 bytes of a shard (HDF5's user block): who wrote it, and the hash of what lies before the tensors. Shared by
// writer and reader; docs/formats/checkpoint-sharded.md.

#include "checkpoints/block_hash.hpp"
#include "cluster/base/error.hpp"

namespace flywheel {

inline constexpr std::size_t shard_seal_bytes = 4096;
inline constexpr std::uint32_t shard_version = 1;

struct shard_seal {
  std::uint64_t file_bytes = 0;
  std::uint64_t step = 0, attempt = 0;
  std::uint32_t rank = 0, ranks = 1;
  std::uint64_t head_bytes = 0;    ///< this block, HDF5's metadata and the block table: everything before the first tensor
  std::uint64_t table_offset = 0;  ///< of the block table, inside the head
  std::uint64_t table_blocks = 0;  ///< its entries, 8 bytes each
  bool operator==(const shard_seal&) const = default;
};

/// Writes the seal over the first 4096 bytes of `head`, hashing the rest of it. `head` has seal.head_bytes bytes.
void put_shard_seal(std::span<std::byte> head, const shard_seal& seal) noexcept;
/// The seal of a head that was read back, if every byte of it is as it was written: checksum_mismatch, or
/// incompatible_version. `where` is for the error.
result<shard_seal> check_shard_head(std::span<const std::byte> head, const std::string& where);

} // namespace flywheel
