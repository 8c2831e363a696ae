#pragma once
// A shard's bytes from memory to disk: hashed while they pass, past the page cache where the file system allows it.

#include "checkpoints/manifest_format.hpp"
#include "checkpoints/shard_layout.hpp"
#include "checkpoints/staging_buffer.hpp"

#include <atomic>

namespace flywheel {

struct shard_write_options {
  unsigned threads = 2;                              ///< one hashes while another waits for the disk
  std::uint64_t chunk_bytes = std::uint64_t{8} << 20; ///< a write; measured: from 4 MiB on the disk's own speed
  /// O_DIRECT: no copy into the page cache and none of its write-back. Measured here (640 MB, durable, GB/s): 2.6 against
  /// 0.3 to 1.6 through the cache. Where the file system refuses, the cache is used.
  bool direct = true;
};

/// A buffer with the layout's head in place, in which the parts' bytes are to be put at their offsets.
result<staging_buffer> make_shard_image(const shard_layout& layout);
/// Where part `i` goes.
std::span<std::byte> part_of_image(const staging_buffer& image, const shard_layout& layout, std::size_t i);

/// Completes the image (block table, seal) and publishes it durably as `path`. Returns what the receipt says of it. When
/// `cancelled` becomes true it stops soon with that error; on any error nothing is at `path` and nothing stays behind.
result<shard_entry> write_shard(const std::filesystem::path& path, const shard_layout& layout, const staging_buffer& image,
                                checkpoint_id id, std::uint32_t rank, std::uint32_t ranks, const shard_write_options& options,
                                const std::atomic<bool>& cancelled);

} // namespace flywheel
