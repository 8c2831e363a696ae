#include "checkpoints/sharded_checkpoint.hpp"

#include "checkpoints/worker_threads.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using u64 = std::uint64_t;

error damaged(const fs::path& path, const std::string& what) {
  return error{errc::checksum_mismatch, what, path.string(), "use the checkpoint before it"};
}

/// How many bytes of `into` the file has from `offset` on: all of them, or less at its end.
result<std::size_t> read_at(int descriptor, std::span<std::byte> into, u64 offset, const fs::path& path) {
  std::size_t have = 0;
  while (have < into.size()) {
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
  s.file = std::move(file).value();
  struct stat about {};
  if (::fstat(s.file.get(), &about) != 0)
    return error_from_errno(errno, "size of", s.path.string());
  if (static_cast<u64>(about.st_size) != expected.bytes)
    return damaged(s.path, "the shard has " + std::to_string(about.st_size) + " bytes, the manifest says " + std::to_string(expected.bytes));
  std::vector<std::byte> head(expected.head_bytes); // no more than the file has
  FLYWHEEL_TRY(const auto have, read_at(s.file.get(), head, 0, s.path));
  if (have != head.size() || wide_hash_of(head) != expected.head)
    return damaged(s.path, "the part before the tensors is not the one in the manifest");
  FLYWHEEL_TRY(const auto seal, check_shard_head(head, s.path.string()));
  if (seal != shard_seal{expected.bytes, m.id.step, m.id.attempt, rank, ranks, expected.head_bytes, expected.table_offset, expected.table_blocks})
    return damaged(s.path, "the shard belongs to another checkpoint");
  s.table.resize(expected.table_blocks);
  if (!s.table.empty()) // a rank may hold no tensor at all
    std::memcpy(s.table.data(), head.data() + expected.table_offset, s.table.size() * sizeof(u64));
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

status sharded_checkpoint::run_one(const open_shard& shard, const read_task& task, std::span<std::byte> scratch) {
  for (u64 at = 0; at < task.bytes; at += hash_block_bytes) {
    const u64 size = std::min(hash_block_bytes, task.bytes - at);
    // What is wanted of this block: usually all, which is read to where it belongs and hashed there.
    const u64 begin = std::max(at, task.skip), end = std::min(at + size, task.skip + task.into.size());
    const bool all_wanted = begin == at && end == at + size;
    const auto block = all_wanted ? task.into.subspan(at - task.skip, size) : scratch.first(size);
    FLYWHEEL_TRY(const auto have, read_at(shard.file.get(), block, task.offset + at, shard.path));
    if (have != size)
      return damaged(shard.path, "the file ends at byte " + std::to_string(task.offset + at + have));
    FLYWHEEL_CHECK(check_block(shard, task, at, block));
    if (!all_wanted && begin < end)
      std::memcpy(task.into.data() + (begin - task.skip), block.data() + (begin - at), end - begin);
  }
  return success();
}

status sharded_checkpoint::run(const std::vector<read_task>& tasks, unsigned threads) const {
  u64 all_bytes = 0;
  bool some_in_part = false;
  for (const auto& t : tasks) {
    all_bytes += t.bytes;
    some_in_part = some_in_part || t.into.size() != t.bytes;
  }
  threads = static_cast<unsigned>(std::min<u64>(std::max(threads, 1U), 1 + all_bytes / hash_block_bytes)); // none for a few bytes
  std::vector<staging_buffer> scratch(threads); // a block for each thread, if any block is wanted in part only
  for (std::size_t i = 0; some_in_part && i < scratch.size(); ++i) {
    FLYWHEEL_TRY(scratch[i], staging_buffer::create(hash_block_bytes));
  }
  return for_each_task(tasks.size(), threads, [&](std::size_t i, unsigned worker) {
    return run_one((*shards_)[tasks[i].shard], tasks[i], scratch[worker].bytes());
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
