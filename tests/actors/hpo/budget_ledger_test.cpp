#include "actors/hpo/budget_ledger.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace flywheel {
namespace {
using namespace std::chrono_literals;

budget_limits limits_of(std::uint64_t trials, double slot_seconds) { return {trials, 10min, slot_seconds}; }

TEST(budget_ledger, reserves_settles_and_gives_back_what_was_not_used) {
  budget_ledger l{limits_of(2, 100)};
  EXPECT_TRUE(l.reserve("a", {1, 60s}).granted);
  EXPECT_EQ(l.reserved(), (budget_use{1, 60s}));
  EXPECT_EQ(l.left(), (budget_use{1, 40s}));
  EXPECT_TRUE(l.settle("a", {1, 25s}).ok());
  EXPECT_EQ(l.reserved(), budget_use{});
  EXPECT_EQ(l.spent(), (budget_use{1, 25s}));
  EXPECT_EQ(l.left(), (budget_use{1, 75s}));
}

TEST(budget_ledger, refuses_with_the_numbers) {
  budget_ledger l{limits_of(1, 100)};
  const auto time = l.reserve("a", {1, 101s});
  EXPECT_FALSE(time.granted);
  EXPECT_NE(time.reason.find("1m41s"), std::string::npos) << time.reason;
  EXPECT_TRUE(l.reserve("a", {1, 50s}).granted);
  const auto trials = l.reserve("b", {1, 1s});
  EXPECT_FALSE(trials.granted);
  EXPECT_NE(trials.reason.find("all 1 trials"), std::string::npos) << trials.reason;
  EXPECT_FALSE(l.reserve("c", {0, -1s}).granted);
  EXPECT_EQ(l.reserved(), (budget_use{1, 50s})) << "a refusal changes nothing";
}

TEST(budget_ledger, counts_each_key_once) {
  budget_ledger l{limits_of(5, 100)};
  EXPECT_TRUE(l.reserve("a", {1, 50s}).granted);
  EXPECT_TRUE(l.reserve("a", {1, 50s}).granted);
  EXPECT_EQ(l.reserved(), (budget_use{1, 50s}));
  EXPECT_FALSE(l.reserve("a", {1, 49s}).granted) << "the same key for something else";
  EXPECT_TRUE(l.settle("a", {1, 10s}).ok());
  EXPECT_TRUE(l.settle("a", {1, 50s}).ok());
  EXPECT_TRUE(l.reserve("a", {1, 50s}).granted) << "an old event replayed";
  EXPECT_EQ(l.spent(), (budget_use{1, 10s}));
  EXPECT_EQ(l.reserved(), budget_use{});
  EXPECT_EQ(l.settle("b", {1, 1s}).error().code, errc::not_found);
  EXPECT_EQ(l.settle("a", {1, -1s}).error().code, errc::invalid_argument);
}

TEST(budget_ledger, takes_an_overrun_from_what_is_left_and_reports_the_rest) {
  budget_ledger l{limits_of(5, 100)};
  ASSERT_TRUE(l.reserve("a", {1, 40s}).granted);
  ASSERT_TRUE(l.reserve("b", {1, 40s}).granted);
  EXPECT_TRUE(l.settle("a", {1, 70s}).ok()); // 60 are there (40 + 20 free)
  EXPECT_EQ(l.spent().slots, 60s);
  EXPECT_EQ(l.overrun(), 10s);
  EXPECT_EQ(l.left().slots, 0s);
  EXPECT_EQ(l.reserved().slots, 40s) << "what b reserved stays b's";
}

TEST(budget_ledger, hostile_limits_make_a_budget_of_nothing_or_of_146_years) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(budget_ledger{limits_of(1, nan)}.left().slots, 0s);
  EXPECT_EQ(budget_ledger{limits_of(1, -5)}.left().slots, 0s);
  EXPECT_GT(budget_ledger{limits_of(1, inf)}.left().slots, 24h * 365 * 100);
}

TEST(budget_ledger, never_overdraws_whatever_is_asked) { // I9, over random orders of reserve and settle
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    auto random = random_source{seed};
    budget_ledger l{limits_of(random.below(20), static_cast<double>(random.below(500)))};
    for (int step = 0; step < 100; ++step) {
      const auto key = std::to_string(random.below(30));
      const budget_use amount{random.below(3), std::chrono::milliseconds{random.below(120'000)}};
      if (random.below(2))
        l.reserve(key, amount);
      else
        (void)l.settle(key, amount);
      ASSERT_LE(l.reserved().trials + l.spent().trials, l.trial_limit()) << "seed " << seed;
      ASSERT_LE(l.reserved().slots + l.spent().slots, l.slot_limit()) << "seed " << seed;
      ASSERT_GE(l.reserved().slots, 0s);
      ASSERT_GE(l.spent().slots, 0s);
    }
  }
}

} // namespace
} // namespace flywheel
