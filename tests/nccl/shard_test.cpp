#include "nccl/shard.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

using namespace flywheel::nccl;

TEST(shard, table_of_parts) {
  const struct { std::size_t count, parts, index, grain; shard expected; } table[] = {
      {0, 3, 1, 1, {0, 0}},  {1, 3, 0, 1, {0, 1}},   {1, 3, 1, 1, {1, 1}},    {10, 3, 0, 1, {0, 4}},
      {10, 3, 1, 1, {4, 7}}, {10, 3, 2, 1, {7, 10}}, {10, 2, 1, 32, {10, 10}}, {100, 2, 1, 32, {64, 100}},
      {33, 2, 0, 32, {0, 32}}, {33, 2, 1, 32, {32, 33}}, {7, 1, 0, 32, {0, 7}}};
  for (const auto& t : table)
    EXPECT_EQ(shard_of(t.count, t.parts, t.index, t.grain), t.expected) << t.count << "/" << t.parts << "[" << t.index << "]";
}

TEST(shard, parts_cover_everything_once_in_order_and_evenly) {
  flywheel::random_source random{42};
  for (int trial = 0; trial < 20'000; ++trial) {
    const auto huge = trial % 50 == 0;
    const std::size_t count = huge ? std::numeric_limits<std::size_t>::max() - random.below(1000) : random.below(5000);
    const std::size_t parts = 1 + random.below(256), grain = 1 + random.below(64);
    std::size_t end = 0, smallest = count, largest = 0;
    for (std::size_t i = 0; i < parts; ++i) {
      const auto s = shard_of(count, parts, i, grain);
      ASSERT_EQ(s.begin, end) << count << " in " << parts << " by " << grain;
      ASSERT_LE(s.begin, s.end);
      ASSERT_TRUE(s.begin % grain == 0 || s.begin == count);
      end = s.end;
      smallest = std::min(smallest, s.size());
      largest = std::max(largest, s.size());
    }
    ASSERT_EQ(end, count);
    ASSERT_LT(largest - smallest, 2 * grain) << count << " in " << parts << " by " << grain; // one grain, and the last one's cut
    ASSERT_EQ(largest, shard_of(count, parts, 0, grain).size()) << "the first part is the longest";
  }
}
