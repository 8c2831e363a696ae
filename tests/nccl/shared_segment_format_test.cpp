#include "nccl/shared_segment_format.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <cstring>

using namespace flywheel;
using namespace flywheel::nccl;

namespace {

gang_record record_of(int ranks, std::uint64_t arena) {
  gang_record r;
  r.gang = "g";
  r.folder = "/tmp";
  r.arena_bytes = arena;
  r.members.assign(static_cast<std::size_t>(ranks), {"localhost", -1});
  return r;
}

TEST(shared_segment_format, regions_do_not_overlap_and_fit_the_file) {
  for (const int ranks : {1, 2, 3, 64, ranks_max})
    for (const std::uint64_t arena : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 30, arena_bytes_max}) {
      const auto h = make_header(record_of(ranks, arena));
      const auto n = static_cast<std::uint64_t>(ranks);
      EXPECT_LE(slots_offset + n * sizeof(rank_slot), h.data_offset);
      EXPECT_GE(h.arena_bytes, arena);
      for (const std::uint64_t r : {std::uint64_t{0}, n - 1}) {
        EXPECT_EQ(arena_offset(h, r) % 4096, 0u);
        EXPECT_LE(arena_offset(h, r) + h.arena_bytes, region_offset(h, r + 1));
      }
      EXPECT_EQ(region_offset(h, n), h.total_bytes);
      EXPECT_LT(h.total_bytes, std::uint64_t{1} << 62) << "a size the file system understands";
    }
}

TEST(shared_segment_format, every_changed_byte_of_the_header_is_refused) {
  const auto record = record_of(3, 1 << 20);
  const auto h = make_header(record);
  std::array<std::byte, sizeof(h)> bytes;
  std::memcpy(bytes.data(), &h, sizeof(h));
  ASSERT_TRUE(check_segment(bytes, h.total_bytes, record));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto damaged = bytes;
    damaged[i] ^= std::byte{0x10};
    EXPECT_FALSE(check_segment(damaged, h.total_bytes, record)) << "byte " << i;
  }
  for (std::size_t n = 0; n < bytes.size(); ++n)
    EXPECT_FALSE(check_segment(std::span{bytes}.first(n), h.total_bytes, record)) << n;
  EXPECT_FALSE(check_segment(bytes, h.total_bytes - 1, record));
}

TEST(shared_segment_format, a_failure_survives_its_word) {
  for (const auto kind : {failure_kind::peer_lost, failure_kind::timed_out, failure_kind::aborted, failure_kind::mismatch, failure_kind::library})
    for (const int rank : {-1, 0, ranks_max - 1}) {
      const auto f = unpack(pack({kind, rank, ranks_max - 1 - std::max(rank, 0), 123'456, "text"}));
      EXPECT_EQ(f.kind, kind);
      EXPECT_EQ(f.rank, rank);
      EXPECT_EQ(f.seen_by, ranks_max - 1 - std::max(rank, 0));
      EXPECT_EQ(f.sequence, 123'456u);
      EXPECT_NE(pack(f), 0u) << "0 means: no failure";
    }
  random_source random{1};
  for (int i = 0; i < 1000; ++i) { // whatever a hostile peer writes is some failure
    const auto f = unpack(random.next() | 1);
    EXPECT_FALSE(name_of(f.kind) == "unknown");
  }
}

} // namespace
