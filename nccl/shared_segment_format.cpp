#include "nccl/shared_segment_format.hpp"

#include "cluster/base/random.hpp"

#include <cstring>

namespace flywheel::nccl {
namespace {

constexpr std::uint64_t large_page = 2 * 1024 * 1024;
constexpr std::uint64_t round_up(std::uint64_t x, std::uint64_t to) { return (x + to - 1) / to * to; }

bool same(const segment_header& a, const segment_header& b) {
  return a.ranks == b.ranks && a.arena_bytes == b.arena_bytes && a.data_offset == b.data_offset &&
         a.region_bytes == b.region_bytes && a.total_bytes == b.total_bytes;
}

} // namespace

std::uint64_t pack(const gang_failure& f) noexcept {
  return static_cast<std::uint64_t>(f.kind) << 56U | (static_cast<std::uint64_t>(f.rank + 1) & 0xfffU) << 44U |
         (static_cast<std::uint64_t>(f.seen_by + 1) & 0xfffU) << 32U | (f.sequence & 0xffffffffU);
}

gang_failure unpack(std::uint64_t word) noexcept {
  const auto kind = word >> 56U;
  return {kind <= static_cast<std::uint64_t>(failure_kind::library) ? static_cast<failure_kind>(kind) : failure_kind::library,
          static_cast<int>(word >> 44U & 0xfffU) - 1, static_cast<int>(word >> 32U & 0xfffU) - 1, word & 0xffffffffU, {}};
}

segment_header make_header(const gang_record& record) noexcept {
  segment_header h;
  h.header_bytes = sizeof(segment_header);
  h.ranks = static_cast<std::uint32_t>(record.size());
  h.gang = stable_hash(record.gang);
  h.generation = record.generation;
  h.arena_bytes = round_up(record.arena_bytes, 4096);
  h.data_offset = round_up(slots_offset + h.ranks * sizeof(rank_slot), large_page);
  h.region_bytes = round_up(2 * stage_half_bytes + 2 * eager_bytes_max + h.arena_bytes, large_page);
  h.total_bytes = h.data_offset + h.ranks * h.region_bytes; // < 2^49: ranks <= 256, arenas <= 2^40
  return h;
}

status check_segment(std::span<const std::byte> bytes, std::uint64_t file_bytes, const gang_record& record) {
  const auto foreign = [](std::string what) { return error{errc::protocol_violation, "the gang's shared memory: " + std::move(what)}; };
  segment_header h;
  if (bytes.size() < sizeof(h))
    return foreign("only " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(&h, bytes.data(), sizeof(h));
  const auto mine = make_header(record);
  if (h.magic != mine.magic || h.header_bytes != mine.header_bytes)
    return error{errc::incompatible_version, "the gang's shared memory was not made by this version of Flywheel"};
  if (h.gang != mine.gang)
    return foreign("it belongs to another gang");
  if (h.generation > mine.generation)
    return admit_generation(record.gang, h.generation, mine.generation);
  if (h.generation < mine.generation)
    return foreign("it belongs to generation " + std::to_string(h.generation) + ", not " + std::to_string(mine.generation));
  if (!same(h, mine))
    return foreign("it was made for " + std::to_string(h.ranks) + " ranks with arenas of " + std::to_string(h.arena_bytes) +
                   " bytes, not " + std::to_string(mine.ranks) + " with " + std::to_string(mine.arena_bytes));
  if (file_bytes != h.total_bytes)
    return foreign(std::to_string(file_bytes) + " bytes where " + std::to_string(h.total_bytes) + " were announced");
  return success();
}

} // namespace flywheel::nccl
