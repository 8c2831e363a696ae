#include "checkpoints/shard_writer.hpp"

#include "checkpoints/worker_threads.hpp"
#include "cluster/content/file.hpp"
#include "cluster/content/publish.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using u64 = std::uint64_t;

/// Some blocks to hash, and the bytes [begin, end) to write after that. Writes begin and end at whole pages; a page that two
/// units share belongs to the second.
struct unit {
  std::size_t first_block = 0, last_block = 0;
  u64 begin = 0, end = 0;
};

struct block_place {
  u64 offset, bytes, entry;
};

std::vector<block_place> blocks_of(const shard_layout& layout) {
  std::vector<block_place> blocks;
  blocks.reserve(layout.table_blocks);
  for (const auto& p : layout.placed)
    for (u64 at = 0, entry = p.first_block; at < p.bytes; at += hash_block_bytes, ++entry)
      blocks.push_back({p.offset + at, std::min(hash_block_bytes, p.bytes - at), entry});
  return blocks;
}

std::vector<unit> units_of(const std::vector<block_place>& blocks, u64 begin, u64 end, u64 chunk_bytes) {
  std::vector<unit> units;
  unit u{0, 0, begin, begin};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const u64 cut = round_down_to_io(blocks[i].offset);
    if (cut > u.begin && cut - u.begin >= chunk_bytes) {
      u.end = cut;
      units.push_back(u);
      u = {i, i, cut, cut};
    }
    u.last_block = i + 1;
  }
  u.end = end;
  units.push_back(u);
  return units;
}

class shard_file {
public:
  explicit shard_file(const fs::path& path) : path_(path) {}

  status create(u64 bytes, bool direct) {
    constexpr int flags = O_WRONLY | O_CREAT | O_EXCL;
    if (direct) {
      if (auto file = open_file(path_, flags | O_DIRECT))
        file_ = std::move(file).value();
      else
        ::unlink(path_.c_str()); // some file systems create it before they refuse O_DIRECT
    }
    if (file_.get() < 0) {
      FLYWHEEL_TRY(file_, open_file(path_, flags));
    }
    // A full disk is known before the first byte is written, and the extents are in one piece.
    if (::fallocate(file_.get(), 0, 0, static_cast<off_t>(bytes)) != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
      return error_from_errno(errno, "reserving room for " + std::to_string(bytes) + " bytes", path_.string());
    return success();
  }

  /// Any thread. begin and end are multiples of io_alignment.
  status write(std::span<const std::byte> image, u64 begin, u64 end) {
    for (u64 at = begin; at < end;) {
      const auto n = ::pwrite(file_.get(), image.data() + at, end - at, static_cast<off_t>(at));
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0 && errno == EINVAL && is_direct()) { // opened with O_DIRECT, but cannot write so
        ::fcntl(file_.get(), F_SETFL, 0);
        continue;
      }
      if (n < 0)
        return error_from_errno(errno, "writing the shard", path_.string());
      if (!is_direct()) // begin writing back now instead of at fsync
        ::sync_file_range(file_.get(), static_cast<off_t>(at), n, SYNC_FILE_RANGE_WRITE);
      // A short write may end within a page, from where direct I/O cannot go on: its page is written once more.
      const auto done = at + static_cast<u64>(n) == end ? static_cast<u64>(n) : round_down_to_io(static_cast<u64>(n));
      if (done == 0)
        return error{errc::disk_full, "the file takes no more bytes after " + std::to_string(at), path_.string()};
      at += done;
    }
    return success();
  }

  status finish(u64 bytes) {
    if (::ftruncate(file_.get(), static_cast<off_t>(bytes)) != 0)
      return error_from_errno(errno, "cutting the shard to its size", path_.string());
    return file_.close(path_);
  }

private:
  bool is_direct() const { return (::fcntl(file_.get(), F_GETFL) & O_DIRECT) != 0; }

  const fs::path& path_;
  file_handle file_;
};

} // namespace

result<staging_buffer> make_shard_image(const shard_layout& layout) {
  FLYWHEEL_TRY(auto image, staging_buffer::create(layout.file_bytes));
  std::copy(layout.head.begin(), layout.head.end(), image.bytes().begin());
  return image;
}

std::span<std::byte> part_of_image(const staging_buffer& image, const shard_layout& layout, std::size_t i) {
  return image.bytes().subspan(layout.placed[i].offset, layout.placed[i].bytes);
}

result<shard_entry> write_shard(const fs::path& path, const shard_layout& layout, const staging_buffer& image, checkpoint_id id,
                                std::uint32_t rank, std::uint32_t ranks, const shard_write_options& options,
                                const std::atomic<bool>& cancelled) {
  const auto bytes = image.bytes();
  const auto head = bytes.first(layout.head.size());
  const u64 head_end = std::min<u64>(round_up_to_io(head.size()), bytes.size());
  const auto blocks = blocks_of(layout);
  const auto units = units_of(blocks, head_end, bytes.size(), std::max(options.chunk_bytes, io_alignment));
  shard_entry entry{layout.file_bytes, head.size(), layout.table_offset, layout.table_blocks, {}};

  const auto hash_and_write = [&](shard_file& file, const unit& u) -> status {
    if (cancelled)
      return error{errc::cancelled, "the save was given up", path.string()};
    for (std::size_t b = u.first_block; b < u.last_block; ++b) {
      const auto hash = block_hash(bytes.subspan(blocks[b].offset, blocks[b].bytes));
      std::memcpy(bytes.data() + layout.table_offset + 8 * blocks[b].entry, &hash, sizeof hash);
    }
    return file.write(bytes, u.begin, u.end);
  };
  const auto write_all_of_it = [&](const fs::path& temporary) -> status {
    shard_file file{temporary};
    FLYWHEEL_CHECK(file.create(bytes.size(), options.direct));
    const auto run = [&](std::size_t i, unsigned) { return hash_and_write(file, units[i]); };
    FLYWHEEL_CHECK(for_each_task(units.size(), options.threads, run));
    // The head last: it holds the hashes of everything else.
    put_shard_seal(head, {layout.file_bytes, id.step, id.attempt, rank, ranks, entry.head_bytes, entry.table_offset, entry.table_blocks});
    entry.head = wide_hash_of(head);
    FLYWHEEL_CHECK(file.write(bytes, 0, head_end));
    return file.finish(layout.file_bytes);
  };
  FLYWHEEL_CHECK(publish_with(path, write_all_of_it));
  return entry;
}

} // namespace flywheel
