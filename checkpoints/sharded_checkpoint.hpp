#pragma once
// A published checkpoint, opened for reading by any number of ranks, whatever number wrote it.

#include "checkpoints/manifest_format.hpp"
#include "checkpoints/read_planner.hpp"
#include "checkpoints/staging_buffer.hpp"
#include "cluster/content/file.hpp"

#include <memory>

namespace flywheel {

inline constexpr const char* manifest_file_name = "manifest.json";
/// More than there may be cores: while one waits for the disk, the others copy and hash.
inline constexpr unsigned read_threads = 4;

/// Reading keeps its files open: retention may remove the folder meanwhile. All methods are const and may be called from any
/// thread. Two descriptors a shard.
class sharded_checkpoint {
public:
  /// Reads and checks the manifest, and of every shard its size and its head (not yet its tensors). not_found: no published
  /// checkpoint there. checksum_mismatch: a shard is gone, cut or damaged. HDF5 does not see the files.
  static result<sharded_checkpoint> open(const std::filesystem::path& folder);

  const checkpoint_manifest& contents() const noexcept { return *contents_; }

  /// Fills every request's memory with verified bytes, with a few threads. Only blocks with wanted elements are read: at
  /// most a block more at either end of a slice. Blocks are read straight to where they belong, through the page cache and
  /// with its read-ahead.
  /// checksum_mismatch names the tensor; then the content of the requests' memory is undefined.
  status read(std::span<const read_request> requests, unsigned threads = read_threads) const;
  /// A whole tensor, or some of its elements; the memory is reserved here, never more than the shards have bytes.
  result<tensor> read(const std::string& name) const;
  /// Everything, as one value.
  result<checkpoint> read_all() const;
  /// Reads every byte and then lets HDF5 compare its structure with the manifest. For a checkpoint from elsewhere, and
  /// before others are removed.
  status verify(unsigned threads = read_threads) const;

private:
  struct open_shard {
    std::filesystem::path path;
    file_handle file;
    std::vector<std::uint64_t> table;
  };
  static result<open_shard> open_one(const std::filesystem::path& folder, const checkpoint_manifest& m, std::uint32_t rank);
  status run(const std::vector<read_task>& tasks, unsigned threads) const;
  static status run_one(const open_shard& shard, const read_task& task, std::span<std::byte> scratch);
  static status check_block(const open_shard& shard, const read_task& task, std::uint64_t at, std::span<const std::byte> block);

  std::shared_ptr<const checkpoint_manifest> contents_;
  std::shared_ptr<const std::vector<open_shard>> shards_;
};

} // namespace flywheel
