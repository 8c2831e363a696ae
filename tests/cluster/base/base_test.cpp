#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <numeric>

using namespace flywheel;

TEST(error, every_code_has_a_name_that_leads_back_to_it) {
  for (int i = 0; i <= static_cast<int>(errc::internal); ++i) {
    const auto code = static_cast<errc>(i);
    EXPECT_EQ(errc_from_name(name_of(code)), code);
    EXPECT_FALSE(sentence_of(code).empty());
  }
  EXPECT_FALSE(errc_from_name("no_such_code"));
}

TEST(error, exit_codes_are_the_documented_ones) {
  EXPECT_EQ(exit_code_of(errc::ok), 0);
  EXPECT_EQ(exit_code_of(errc::gate_failed), 1);
  EXPECT_EQ(exit_code_of(errc::invalid_goal), 2);
  EXPECT_EQ(exit_code_of(errc::not_found), 3);
  EXPECT_EQ(exit_code_of(errc::budget_exhausted), 4);
  EXPECT_EQ(exit_code_of(errc::unreachable), 5);
  EXPECT_EQ(exit_code_of(errc::waiting_for_approval), 6);
}

TEST(error, reads_as_one_line_with_place_and_next_step) {
  const error e{errc::disk_full, "writing event 7", "journal.db", "free some space and run the same command again"};
  EXPECT_EQ(e.to_string(), "journal.db: the disk is full: writing event 7 [disk_full]; free some space and run the "
                           "same command again");
  EXPECT_EQ(error_from_errno(ENOSPC, "write").code, errc::disk_full);
}

TEST(random, same_seed_same_history_and_labels_are_independent) {
  random_source a{7}, b{7};
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(a.next(), b.next());
  EXPECT_NE(random_source::derive(7, "trial/1").next(), random_source::derive(7, "trial/2").next());
  EXPECT_EQ(random_source{1}.next(), 0xb3f2af6d0fc710c5ULL); // pinned: a change would break replay of old journals
}

TEST(random, draws_have_the_moments_they_should) {
  random_source r{42};
  double sum = 0, squares = 0;
  constexpr int n = 200'000;
  for (int i = 0; i < n; ++i) {
    const double x = r.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 0.02);
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i)
    ++counts[r.below(7)];
  for (const int c : counts)
    EXPECT_NEAR(c, 10'000, 500);
}

TEST(ids, sort_by_time_and_are_safe_names) {
  const auto a = make_id("g", wall_time{1'700'000'000'000'000'000}, 1);
  const auto b = make_id("g", wall_time{1'700'000'000'001'000'000}, 0);
  EXPECT_LT(a, b);
  EXPECT_TRUE(is_valid_name(a));
  EXPECT_FALSE(is_valid_name("../etc"));
  EXPECT_FALSE(is_valid_name(""));
}

TEST(clock, a_moment_reads_as_iso_8601) {
  EXPECT_EQ(to_iso8601(wall_time{1'700'000'000'123'000'000}), "2023-11-14T22:13:20.123Z");
}
