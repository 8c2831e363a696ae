#pragma once
// Where everything lies in a shard: the same for every step, because names, types and shapes do not change. HDF5 is asked
// once; after that a shard is written as plain bytes, at the speed of the disk, and is an HDF5 file all the same.
//
//   | seal 4096 | HDF5 metadata | block table | tensor | tensor | ...
//   '--------------- head ---------------'

#include "checkpoints/shard_format.hpp"
#include "checkpoints/tensor_slice.hpp"

#include <filesystem>

namespace flywheel {

struct placed_part {
  std::uint64_t offset = 0;      ///< in the file; 0 if it has no bytes
  std::uint64_t bytes = 0;
  std::uint64_t first_block = 0; ///< its first entry of the block table
  bool operator==(const placed_part&) const = default;
};

struct shard_layout {
  std::vector<tensor_part> parts;
  std::vector<placed_part> placed;  ///< as parts; offsets ascend
  std::uint64_t file_bytes = 0;
  std::uint64_t table_offset = 0, table_blocks = 0;
  std::vector<std::byte> head;      ///< with the seal and the table still zero
};

/// Lets HDF5 lay out a file of these parts (a sparse temporary file; parts without elements get no dataset). Part names must
/// be acceptable and unique, ranges inside their shapes and sizes within 2^62: else invalid_argument or too_large.
result<shard_layout> make_shard_layout(std::vector<tensor_part> parts);

/// Reads the file through HDF5, as a stranger would, and compares: /blocks and one dataset a part that has bytes, plain, of its type and
/// shape, where the layout says. invalid_format names what differs. Part of a thorough verification, never of a restore.
status check_shard_structure(const std::filesystem::path& path, std::span<const tensor_part> parts,
                             std::span<const placed_part> placed, std::uint64_t table_offset, std::uint64_t table_blocks);

} // namespace flywheel
