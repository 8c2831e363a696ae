#include "checkpoints/sharded_checkpoint.hpp"

#include "checkpoints/streaming_copy.hpp"
#include "checkpoints/worker_threads.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using u64 = std::uint64_t;

error damaged(const fs::path& path, const std::string& what) {
  return error{errc::checksum_mismatch, what, path.string(), "use the checkpoint before it"};
}

/// At least the first `needed` bytes of `into`, from `offset` on; less at the end of the file.
result<std::size_t> read_at(int descriptor, std::span<std::byte> into, std::size_t needed, u64 offset, const fs::path& path) {
  std::size_t have = 0;
  while (have < needed) {
    const auto n = ::pread(descriptor, into.data() + have, into.size() - have, static_cast<off_t>(offset + have));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return error_from_errno(errno, "reading", path.string());
    if (n == 0)
      break;
    have += static_cast<std::size_t>(n);
  }
  return have;
}

/// True if the page cache has all of [offset, offset + bytes). (preadv2 with RWF_NOWAIT would tell, too, but may start to
/// read ahead into the cache, beside our reading past it; that it costs speed is suspected, not measured.) Where the system
/// does not tell, true.
bool is_cached(int descriptor, u64 offset, u64 bytes) {
  const u64 begin = round_down_to_io(offset), size = offset + bytes - begin;
  void* const at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(begin));
  if (at == MAP_FAILED)
    return true;
  std::array<unsigned char, read_run_bytes / io_alignment + 2> pages{};
  const bool told = ::mincore(at, size, pages.data()) == 0;
  ::munmap(at, size);
  const auto end = pages.begin() + static_cast<std::ptrdiff_t>(round_up_to_io(size) / io_alignment);
  return !told || std::all_of(pages.begin(), end, [](unsigned char page) { return (page & 1) != 0; });
}

/// The bytes [offset, offset + bytes) from the disk, somewhere in `scratch`.
result<std::span<const std::byte>> read_past_cache(int direct, int cached, u64 offset, u64 bytes, std::span<std::byte> scratch,
                                                   const fs::path& path) {
  const u64 begin = round_down_to_io(offset), end = round_up_to_io(offset + bytes);
  if (direct >= 0) {
    const u64 needed = offset + bytes - begin; // not all: the file may end within its last page
    const auto have = read_at(direct, scratch.first(end - begin), needed, begin, path);
    if (have && *have >= needed)
      return std::span<const std::byte>{scratch.subspan(offset - begin, bytes)};
    // A file system that reads only whole files so, or a file that ends here: the cache decides.
  }
  FLYWHEEL_TRY(const auto have, read_at(cached, scratch.first(bytes), bytes, offset, path));
  if (have != bytes)
    return damaged(path, "the file ends at byte " + std::to_string(offset + have));
  return std::span<const std::byte>{scratch.first(bytes)};
}

} // namespace

result<sharded_checkpoint::open_shard> sharded_checkpoint::open_one(const fs::path& folder, const checkpoint_manifest& m,
                                                                    std::uint32_t rank) {
  const auto& expected = m.shards[rank];
  const auto ranks = static_cast<std::uint32_t>(m.shards.size());
  open_shard s;
  s.path = folder / shard_file_name(rank, ranks);
  auto file = open_regular_file(s.path);
  if (!file)
    return file.error().code == errc::not_found ? damaged(s.path, "a shard is gone") : std::move(file).error();
  s.cached = std::move(file).value();
  struct stat about {};
  if (::fstat(s.cached.get(), &about) != 0)
    return error_from_errno(errno, "size of", s.path.string());
  if (static_cast<u64>(about.st_size) != expected.bytes)
    return damaged(s.path, "the shard has " + std::to_string(about.st_size) + " bytes, the manifest says " + std::to_string(expected.bytes));
  std::vector<std::byte> head(expected.head_bytes); // no more than the file has
  FLYWHEEL_TRY(const auto have, read_at(s.cached.get(), head, head.size(), 0, s.path));
  if (have != head.size() || wide_hash_of(head) != expected.head)
    return damaged(s.path, "the part before the tensors is not the one in the manifest");
  FLYWHEEL_TRY(const auto seal, check_shard_head(head, s.path.string()));
  if (seal != shard_seal{expected.bytes, m.id.step, m.id.attempt, rank, ranks, expected.head_bytes, expected.table_offset, expected.table_blocks})
    return damaged(s.path, "the shard belongs to another checkpoint");
  s.table.resize(expected.table_blocks);
  if (!s.table.empty()) // a rank may hold no tensor at all
    std::memcpy(s.table.data(), head.data() + expected.table_offset, s.table.size() * sizeof(u64));
  if (auto direct = open_file(s.path, O_RDONLY | O_DIRECT))
    s.direct = std::move(direct).value();
  return s;
}

result<sharded_checkpoint> sharded_checkpoint::open(const fs::path& folder) {
  const auto path = folder / manifest_file_name;
  FLYWHEEL_TRY(auto m, read_manifest(path));
  if (folder.filename() != m.id.folder_name())
    return damaged(path, "the folder is named for another checkpoint than it holds");
  std::vector<open_shard> shards;
  for (std::uint32_t rank = 0; rank < m.shards.size(); ++rank) {
    FLYWHEEL_TRY(auto s, open_one(folder, m, rank));
    shards.push_back(std::move(s));
  }
  sharded_checkpoint c;
  c.contents_ = std::make_shared<const checkpoint_manifest>(std::move(m));
  c.shards_ = std::make_shared<const std::vector<open_shard>>(std::move(shards));
  return c;
}

status sharded_checkpoint::check_block(const open_shard& shard, const read_task& task, u64 at, std::span<const std::byte> block) {
  const auto entry = task.first_block + at / hash_block_bytes;
  if (block_hash(block) != shard.table[entry])
    return damaged(shard.path, "tensor " + task.tensor->name + " does not match its checksum in the block at byte " +
                                   std::to_string(task.offset + at));
  return success();
}

status sharded_checkpoint::run_one(const open_shard& shard, const read_task& task, const staging_buffer& scratch) {
  const auto size_at = [&](u64 from) { return std::min(hash_block_bytes, task.bytes - from); };
  // What is wanted of the block at `from`, and where it goes.
  const auto deliver = [&](u64 from, std::span<const std::byte> block) {
    const u64 begin = std::max(from, task.skip), end = std::min(from + block.size(), task.skip + task.into.size());
    if (begin < end)
      streaming_copy(task.into.subspan(begin - task.skip, end - begin), block.subspan(begin - from, end - begin));
  };
  if (shard.direct.get() >= 0 && !is_cached(shard.cached.get(), task.offset, task.bytes)) {
    FLYWHEEL_TRY(const auto run, read_past_cache(shard.direct.get(), shard.cached.get(), task.offset, task.bytes, scratch.bytes(), shard.path));
    for (u64 at = 0; at < task.bytes; at += hash_block_bytes) {
      const auto block = run.subspan(at, size_at(at));
      FLYWHEEL_CHECK(check_block(shard, task, at, block));
      deliver(at, block);
    }
    return success();
  }
  for (u64 at = 0; at < task.bytes; at += hash_block_bytes) {
    const u64 size = size_at(at);
    const bool all_wanted = at >= task.skip && at + size <= task.skip + task.into.size();
    const auto target = all_wanted ? task.into.subspan(at - task.skip, size) : scratch.bytes().first(size);
    FLYWHEEL_TRY(const auto have, read_at(shard.cached.get(), target, size, task.offset + at, shard.path));
    if (have != size)
      return damaged(shard.path, "the file ends at byte " + std::to_string(task.offset + at + have));
    FLYWHEEL_CHECK(check_block(shard, task, at, target));
    if (!all_wanted)
      deliver(at, target);
  }
  return success();
}

status sharded_checkpoint::run(const std::vector<read_task>& tasks, unsigned threads) const {
  if (tasks.empty())
    return success();
  // Room for the largest run, with what direct I/O needs around it to begin and end at whole pages.
  u64 scratch_bytes = 0, all_bytes = 0;
  for (const auto& t : tasks) {
    scratch_bytes = std::max(scratch_bytes, t.bytes + 2 * io_alignment);
    all_bytes += t.bytes;
  }
  threads = static_cast<unsigned>(std::min<u64>(std::max(threads, 1U), 1 + all_bytes / hash_block_bytes)); // none for a few bytes
  std::vector<staging_buffer> scratch;
  for (std::size_t i = 0; i < std::min<std::size_t>(threads, tasks.size()); ++i) {
    FLYWHEEL_TRY(auto buffer, staging_buffer::create(scratch_bytes));
    scratch.push_back(std::move(buffer));
  }
  return for_each_task(tasks.size(), static_cast<unsigned>(scratch.size()), [&](std::size_t i, unsigned worker) {
    return run_one((*shards_)[tasks[i].shard], tasks[i], scratch[worker]);
  });
}

status sharded_checkpoint::read(std::span<const read_request> requests, unsigned threads) const {
  FLYWHEEL_TRY(const auto tasks, plan_reads(*contents_, requests));
  return run(tasks, threads);
}

result<tensor> sharded_checkpoint::read(const std::string& name) const {
  const auto* stored = contents_->find(name);
  tensor t;
  if (stored != nullptr) {
    t = {name, stored->type, stored->shape, {}};
    t.bytes.resize(stored->elements() * size_of(stored->type)); // its parts lie in the shards: no more than they have
  }
  const read_request all{name, {0, stored != nullptr ? stored->elements() : 0}, t.bytes};
  FLYWHEEL_CHECK(read({&all, 1}));
  return t;
}

result<checkpoint> sharded_checkpoint::read_all() const {
  checkpoint c;
  c.step = contents_->id.step;
  c.attributes = contents_->attributes;
  std::vector<read_request> requests;
  for (const auto& stored : contents_->tensors) {
    auto& t = c.tensors.emplace_back(tensor{stored.name, stored.type, stored.shape, {}});
    t.bytes.resize(stored.elements() * size_of(stored.type));
    requests.push_back({stored.name, {0, stored.elements()}, t.bytes});
  }
  FLYWHEEL_CHECK(read(requests));
  return c;
}

status sharded_checkpoint::verify(unsigned threads) const {
  FLYWHEEL_CHECK(run(plan_verification(*contents_), threads));
  for (std::uint32_t rank = 0; rank < shards_->size(); ++rank) {
    std::vector<tensor_part> parts;
    std::vector<placed_part> placed;
    for (const auto& t : contents_->tensors)
      for (const auto& p : t.parts)
        if (p.shard == rank) {
          parts.push_back({t.name, t.type, t.shape, p.range});
          placed.push_back({p.offset, parts.back().bytes(), p.first_block});
        }
    const auto& entry = contents_->shards[rank];
    FLYWHEEL_CHECK(check_shard_structure((*shards_)[rank].path, parts, placed, entry.table_offset, entry.table_blocks));
  }
  return success();
}

} // namespace flywheel
