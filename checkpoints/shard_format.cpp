#include "checkpoints/shard_format.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace flywheel {

namespace {

static_assert(std::endian::native == std::endian::little, "integers are copied as they lie in memory");

// Offsets in the block; integers are little-endian, the rest of the block is zero.
constexpr char magic[8] = {'F', 'W', 'S', 'H', 'R', 'D', '\r', '\n'};
constexpr std::size_t at_version = 8, at_block = 12, at_file = 16, at_step = 24, at_attempt = 32, at_rank = 40, at_ranks = 44,
                      at_head = 48, at_table = 56, at_blocks = 64, at_block_bytes = 72, at_hash = 80, at_self = 96, end = 104;

template <class T> void put(std::span<std::byte> b, std::size_t at, T value) {
  std::memcpy(b.data() + at, &value, sizeof value);
}
template <class T> T get(std::span<const std::byte> b, std::size_t at) {
  T value;
  std::memcpy(&value, b.data() + at, sizeof value);
  return value;
}

error damaged(const std::string& where, const std::string& what) {
  return error{errc::checksum_mismatch, what, where, "use the checkpoint before it"};
}

} // namespace

void put_shard_seal(std::span<std::byte> head, const shard_seal& seal) noexcept {
  const auto b = head.first(shard_seal_bytes);
  std::fill(b.begin(), b.end(), std::byte{0});
  std::memcpy(b.data(), magic, sizeof magic);
  put(b, at_version, shard_version);
  put(b, at_block, static_cast<std::uint32_t>(shard_seal_bytes));
  put(b, at_file, seal.file_bytes);
  put(b, at_step, seal.step);
  put(b, at_attempt, seal.attempt);
  put(b, at_rank, seal.rank);
  put(b, at_ranks, seal.ranks);
  put(b, at_head, seal.head_bytes);
  put(b, at_table, seal.table_offset);
  put(b, at_blocks, seal.table_blocks);
  put(b, at_block_bytes, hash_block_bytes);
  put(b, at_hash, wide_hash_of(head.subspan(shard_seal_bytes)).bytes);
  put(b, at_self, block_hash(b.first(at_self)));
}

result<shard_seal> check_shard_head(std::span<const std::byte> head, const std::string& where) {
  if (head.size() < shard_seal_bytes)
    return damaged(where, "the file ends inside its seal");
  const auto b = head.first(shard_seal_bytes);
  if (std::memcmp(b.data(), magic, sizeof magic) != 0)
    return damaged(where, "the first bytes are not those of a shard");
  const bool rest_is_zero = std::all_of(b.begin() + end, b.end(), [](std::byte x) { return x == std::byte{0}; });
  if (get<std::uint64_t>(b, at_self) != block_hash(b.first(at_self)) || !rest_is_zero)
    return damaged(where, "the seal's own checksum does not match");
  if (get<std::uint32_t>(b, at_version) != shard_version || get<std::uint32_t>(b, at_block) != shard_seal_bytes ||
      get<std::uint64_t>(b, at_block_bytes) != hash_block_bytes)
    return error{errc::incompatible_version,
                 "the shard has version " + std::to_string(get<std::uint32_t>(b, at_version)) + ", this program reads " +
                     std::to_string(shard_version),
                 where, "use the program that wrote it, or a newer one"};
  shard_seal s;
  s.file_bytes = get<std::uint64_t>(b, at_file);
  s.step = get<std::uint64_t>(b, at_step);
  s.attempt = get<std::uint64_t>(b, at_attempt);
  s.rank = get<std::uint32_t>(b, at_rank);
  s.ranks = get<std::uint32_t>(b, at_ranks);
  s.head_bytes = get<std::uint64_t>(b, at_head);
  s.table_offset = get<std::uint64_t>(b, at_table);
  s.table_blocks = get<std::uint64_t>(b, at_blocks);
  if (s.head_bytes != head.size() || s.table_offset < shard_seal_bytes || s.table_offset > s.head_bytes ||
      s.table_blocks > (s.head_bytes - s.table_offset) / 8)
    return damaged(where, "the seal's sizes do not fit the file");
  if (get<std::array<std::uint8_t, 16>>(b, at_hash) != wide_hash_of(head.subspan(shard_seal_bytes)).bytes)
    return damaged(where, "the part before the tensors does not match its checksum");
  return s;
}

} // namespace flywheel
