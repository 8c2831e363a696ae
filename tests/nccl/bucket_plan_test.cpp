#include "nccl/bucket_plan.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

using namespace flywheel;
using namespace flywheel::nccl;

TEST(bucket_plan, the_last_parameters_go_first) {
  const std::vector<std::size_t> sizes{100, 20, 300, 10, 5};
  const auto plan = plan_buckets(sizes, 64);
  ASSERT_TRUE(plan);
  // actual: 5 and 10 fill no bucket, 300 needs one of its own; 20 and 100 likewise; buckets start at multiples of 32
  EXPECT_EQ(plan->buckets, (std::vector<flat_range>{{0, 15}, {32, 300}, {352, 20}, {384, 100}}));
  EXPECT_EQ(plan->bucket_of, (std::vector<std::size_t>{3, 2, 1, 0, 0}));
  EXPECT_EQ(plan->parameters, (std::vector<flat_range>{{384, 100}, {352, 20}, {32, 300}, {5, 10}, {0, 5}}));
  EXPECT_EQ(plan->parameters_in, (std::vector<std::size_t>{2, 1, 1, 1}));
  EXPECT_EQ(plan->elements, 484u);
}

TEST(bucket_plan, any_sizes_give_a_plan_that_holds_everything_once) {
  random_source random{11};
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<std::size_t> sizes(1 + random.below(40));
    for (auto& s : sizes)
      s = random.below(4) == 0 ? random.below(3) : random.below(5000);
    const std::size_t limit = 1 + random.below(4000);
    const auto made = plan_buckets(sizes, limit);
    ASSERT_TRUE(made);
    const auto& plan = *made;
    std::vector<int> owner(plan.elements, 0);
    std::vector<std::size_t> counted(plan.buckets.size());
    for (std::size_t p = 0; p < sizes.size(); ++p) {
      ASSERT_EQ(plan.parameters[p].count, sizes[p]);
      const auto& b = plan.buckets[plan.bucket_of[p]];
      ASSERT_GE(plan.parameters[p].begin, b.begin);
      ASSERT_LE(plan.parameters[p].begin + sizes[p], b.begin + b.count);
      for (std::size_t i = 0; i < sizes[p]; ++i)
        ++owner[plan.parameters[p].begin + i];
      ++counted[plan.bucket_of[p]];
      if (p > 0) {
        ASSERT_GE(plan.bucket_of[p - 1], plan.bucket_of[p]) << "backward goes from the last to the first";
      }
    }
    ASSERT_EQ(counted, plan.parameters_in);
    ASSERT_TRUE(std::all_of(owner.begin(), owner.end(), [](int n) { return n <= 1; })) << "no overlap";
    std::size_t in_buckets = 0, sum = 0;
    for (const auto& b : plan.buckets) {
      in_buckets += b.count;
      ASSERT_EQ(b.begin % shard_grain, 0u);
    }
    for (const auto s : sizes)
      sum += s;
    ASSERT_EQ(in_buckets, sum);

    const std::size_t ranks = 1 + random.below(9);
    std::fill(owner.begin(), owner.end(), 0);
    std::size_t owned = 0;
    for (std::size_t r = 0; r < ranks; ++r)
      for (const auto& range : owned_ranges(plan, ranks, r)) {
        ASSERT_GT(range.count, 0u);
        owned += range.count;
        for (std::size_t i = 0; i < range.count; ++i)
          ASSERT_EQ(++owner[range.begin + i], 1) << "one owner each";
      }
    ASSERT_EQ(owned, sum);
  }
}

TEST(bucket_plan, what_is_no_model_is_refused) {
  const std::vector<std::size_t> none, huge{std::numeric_limits<std::size_t>::max()}, sum{std::size_t{1} << 48, std::size_t{1} << 48, 5}, one{1};
  EXPECT_FALSE(plan_buckets(none, 10));
  EXPECT_FALSE(plan_buckets(huge, 10));
  EXPECT_FALSE(plan_buckets(sum, 10));
  EXPECT_FALSE(plan_buckets(one, 0));
}
