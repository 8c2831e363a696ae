#include "checkpoints/read_planner.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {

namespace {

using u64 = std::uint64_t;

/// Bytes [begin, end) of a part, as runs of the blocks that cover them.
void add_runs(std::vector<read_task>& tasks, const stored_tensor& t, const stored_part& p, u64 begin, u64 end, std::span<std::byte> into) {
  const u64 part_bytes = p.range.size() * size_of(t.type);
  for (u64 block = begin / hash_block_bytes; block * hash_block_bytes < end;) {
    const u64 from = block * hash_block_bytes;
    const u64 to = std::min(from + read_run_bytes, part_bytes);
    // The last run ends with the block that holds the last wanted byte.
    const u64 last = std::min(to, (end + hash_block_bytes - 1) / hash_block_bytes * hash_block_bytes);
    const u64 wanted_from = std::max(from, begin), wanted_to = std::min(last, end);
    tasks.push_back({p.shard, p.offset + from, last - from, p.first_block + block, wanted_from - from,
                     into.empty() ? into : into.subspan(wanted_from - begin, wanted_to - wanted_from), &t});
    block += hash_blocks_in(last - from);
  }
}

error no_such_tensor(const checkpoint_manifest& m, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& t : m.tensors)
    names.push_back(t.name);
  const auto near = nearest(name, names);
  return error{errc::not_found, "the checkpoint has no tensor '" + printable(name, 80) + "'", m.id.folder_name(),
               near.empty() ? "" : "did you mean '" + std::string{near} + "'?"};
}

} // namespace

result<std::vector<read_task>> plan_reads(const checkpoint_manifest& m, std::span<const read_request> requests) {
  std::vector<read_task> tasks;
  for (const auto& r : requests) {
    const auto* t = m.find(r.tensor);
    if (t == nullptr)
      return no_such_tensor(m, r.tensor);
    const u64 size = size_of(t->type);
    if (r.range.begin > r.range.end || r.range.end > t->elements() || r.into.size() != r.range.size() * size)
      return error{errc::invalid_argument, "elements " + std::to_string(r.range.begin) + " to " + std::to_string(r.range.end) + " into " +
                       std::to_string(r.into.size()) + " bytes; tensor " + t->name + " has " + std::to_string(t->elements()) +
                       " elements of " + std::to_string(size), m.id.folder_name()};
    auto part = std::partition_point(t->parts.begin(), t->parts.end(), [&](const stored_part& p) { return p.range.end <= r.range.begin; });
    for (; part != t->parts.end() && part->range.begin < r.range.end; ++part) {
      const u64 begin = std::max(part->range.begin, r.range.begin), end = std::min(part->range.end, r.range.end);
      add_runs(tasks, *t, *part, (begin - part->range.begin) * size, (end - part->range.begin) * size,
               r.into.subspan((begin - r.range.begin) * size, (end - begin) * size));
    }
  }
  return tasks;
}

std::vector<read_task> plan_verification(const checkpoint_manifest& m) {
  std::vector<read_task> tasks;
  for (const auto& t : m.tensors)
    for (const auto& p : t.parts)
      add_runs(tasks, t, p, 0, p.range.size() * size_of(t.type), {});
  return tasks;
}

} // namespace flywheel
