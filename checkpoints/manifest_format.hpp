#pragma once
// What makes a set of shards a checkpoint: the manifest, a sealed JSON document that is published last. And the receipt
// that each rank leaves beside its shard, from which whoever finishes last makes the manifest. Bytes:
// docs/formats/checkpoint-sharded.md.

#include "checkpoints/block_hash.hpp"
#include "checkpoints/checkpoint_id.hpp"
#include "checkpoints/shard_layout.hpp"

namespace flywheel {

inline constexpr std::uint32_t ranks_max = 65'536;
/// A million parts; a manifest that claims to be larger is not read.
inline constexpr std::size_t manifest_bytes_max = std::size_t{256} << 20;

struct shard_entry {
  std::uint64_t bytes = 0, head_bytes = 0, table_offset = 0, table_blocks = 0;
  wide_hash head;                       ///< of the head, seal included; the head's table hashes the rest
  bool operator==(const shard_entry&) const = default;
};

/// "shard-00003-of-00008.h5"
std::string shard_file_name(std::uint32_t rank, std::uint32_t ranks);
std::string receipt_file_name(std::uint32_t rank, std::uint32_t ranks);

struct shard_receipt {
  checkpoint_id id;
  std::uint32_t rank = 0, ranks = 1;
  std::string attributes;
  shard_entry shard;
  std::vector<tensor_part> parts;
  std::vector<placed_part> placed;
  bool operator==(const shard_receipt&) const = default;
};

struct stored_part {
  element_range range;
  std::uint32_t shard = 0;
  std::uint64_t offset = 0, first_block = 0;
  bool operator==(const stored_part&) const = default;
};

struct stored_tensor {
  std::string name;
  tensor_type type = tensor_type::f32;
  std::vector<std::uint64_t> shape;
  std::vector<stored_part> parts;       ///< in order, without gap or overlap
  std::uint64_t elements() const noexcept { return elements_of(shape).value_or(0); }
  bool operator==(const stored_tensor&) const = default;
};

struct checkpoint_manifest {
  checkpoint_id id;
  std::string attributes;               ///< JSON text of rank 0; its meaning belongs to who wrote it
  std::vector<shard_entry> shards;      ///< by rank
  std::vector<stored_tensor> tensors;   ///< by name
  const stored_tensor* find(std::string_view name) const noexcept;
  bool operator==(const checkpoint_manifest&) const = default;
};

/// Puts the ranks' receipts (one of each rank, of one checkpoint) together. invalid_argument if a tensor is described
/// differently by two ranks, if parts overlap or elements are missing.
result<checkpoint_manifest> make_manifest(std::vector<shard_receipt> receipts);

std::string manifest_to_text(const checkpoint_manifest& m);
std::string receipt_to_text(const shard_receipt& r);
/// Everything is checked before anything is reserved by its numbers: names, types, shapes, sums that overflow, parts within
/// their shard, no gap, no overlap. checksum_mismatch: damaged; invalid_format: sealed, but not what we write;
/// incompatible_version.
result<checkpoint_manifest> read_manifest(const std::filesystem::path& path);
result<shard_receipt> read_receipt(const std::filesystem::path& path);

} // namespace flywheel
