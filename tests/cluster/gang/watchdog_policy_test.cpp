#include "cluster/gang/watchdog_policy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

using namespace flywheel;
using namespace std::chrono_literals;
using testing::HasSubstr;

namespace {

constexpr mono_time start{1'000'000'000'000};

/// Three ranks in step; own(rank, step) says how long each computes. All finish when the slowest has arrived, 10 ms later.
struct training {
  explicit training(watchdog_options options = {}) : dog(3, start, options) {
    for (int r = 0; r < 3; ++r)
      dog.finished(r, 0, now);
  }
  void steps(int n, const std::function<nanoseconds(int, int)>& own) {
    for (int i = 0; i < n; ++i) {
      ++step;
      nanoseconds longest{};
      for (int r = 0; r < 3; ++r) {
        dog.arrived(r, step, now + own(r, i));
        longest = std::max(longest, own(r, i));
      }
      now = now + longest + 10ms;
      for (int r = 0; r < 3; ++r)
        dog.finished(r, step, now);
    }
  }
  watchdog_policy dog;
  mono_time now = start;
  std::uint64_t step = 0;
};

nanoseconds even(int, int) { return 100ms; }

TEST(watchdog_policy, ranks_in_step_are_healthy) {
  training t;
  t.steps(50, even);
  EXPECT_EQ(t.dog.judge(t.now).health, rank_health::healthy);
  EXPECT_EQ(t.dog.own_time(1), nanoseconds{100ms});
}

TEST(watchdog_policy, the_straggler_is_named_although_all_steps_take_equally_long) {
  training t;
  t.steps(20, [](int r, int) { return r == 1 ? 190ms : 100ms; });
  const auto v = t.dog.judge(t.now);
  EXPECT_EQ(v.health, rank_health::slow);
  EXPECT_EQ(v.rank, 1);
  EXPECT_EQ(v.reason, "rank 1 needs 190ms a step, the others 100ms");
}

TEST(watchdog_policy, a_few_slow_steps_are_no_straggler_and_old_ones_are_forgotten) {
  training t;
  t.steps(30, [](int r, int i) { return r == 2 && i % 3 == 0 ? 900ms : 100ms; });
  EXPECT_EQ(t.dog.judge(t.now).health, rank_health::healthy) << "a third of the steps does not move the median";
  t.steps(31, [](int r, int) { return r == 0 ? 300ms : 100ms; });
  EXPECT_EQ(t.dog.judge(t.now).rank, 0);
  t.steps(31, even);
  EXPECT_EQ(t.dog.judge(t.now).health, rank_health::healthy);
}

TEST(watchdog_policy, nobody_is_called_slow_before_enough_steps) {
  training t;
  t.steps(4, [](int r, int) { return r == 1 ? 900ms : 100ms; });
  EXPECT_EQ(t.dog.judge(t.now).health, rank_health::healthy);
  t.steps(1, [](int r, int) { return r == 1 ? 900ms : 100ms; });
  EXPECT_EQ(t.dog.judge(t.now).health, rank_health::slow);
}

TEST(watchdog_policy, who_has_not_arrived_hangs_not_those_who_wait) {
  training t;
  t.steps(10, even);
  t.dog.arrived(0, t.step + 1, t.now + 100ms);
  t.dog.arrived(2, t.step + 1, t.now + 110ms);
  const struct { nanoseconds after; rank_health health; } table[] = {
      {1s, rank_health::healthy}, {10s, rank_health::healthy}, {10s + 1ms, rank_health::hung}};
  for (const auto& row : table)
    EXPECT_EQ(t.dog.judge(t.now + row.after).health, row.health) << row.after.count();
  const auto v = t.dog.judge(t.now + 11s);
  EXPECT_EQ(v.rank, 1);
  EXPECT_EQ(v.reason, "rank 1 has worked on step 11 for 11.0s, allowed 10.0s");
}

TEST(watchdog_policy, patience_grows_with_the_learnt_step_time) {
  training t;
  t.steps(10, [](int, int) { return 5s; });
  EXPECT_EQ(t.dog.judge(t.now + 49s).health, rank_health::healthy);
  EXPECT_EQ(t.dog.judge(t.now + 51s).health, rank_health::hung) << "ten times five seconds";
}

TEST(watchdog_policy, before_anything_is_learnt_the_first_step_has_its_own_limit) {
  watchdog_policy dog{2, start, {}};
  EXPECT_EQ(dog.judge(start + 299s).health, rank_health::healthy);
  EXPECT_EQ(dog.judge(start + 301s).health, rank_health::hung);
}

TEST(watchdog_policy, when_all_wait_the_communication_hangs) {
  training t;
  t.steps(10, even);
  for (int r = 0; r < 3; ++r)
    t.dog.arrived(r, t.step + 1, t.now + 100ms * (r + 1));
  EXPECT_EQ(t.dog.judge(t.now + 10s + 250ms).health, rank_health::healthy) << "the last one arrived 300 ms after the step began";
  const auto v = t.dog.judge(t.now + 12s);
  EXPECT_EQ(v.health, rank_health::hung);
  EXPECT_EQ(v.rank, -1);
  EXPECT_THAT(v.reason, HasSubstr("all ranks have been in the collective of step 11"));
}

TEST(watchdog_policy, a_rank_that_never_leaves_the_last_collective_is_named) {
  training t;
  t.steps(10, even);
  for (int r = 0; r < 3; ++r)
    t.dog.arrived(r, t.step + 1, t.now + 100ms);
  for (int r : {0, 1}) {
    t.dog.finished(r, t.step + 1, t.now + 110ms);
    t.dog.arrived(r, t.step + 2, t.now + 210ms);
  }
  const auto v = t.dog.judge(t.now + 20s);
  EXPECT_EQ(v.health, rank_health::hung);
  EXPECT_EQ(v.rank, 2);
}

TEST(watchdog_policy, an_expected_pause_is_neither_a_hang_nor_learnt) {
  training t;
  t.steps(10, even);
  t.dog.expect_pause(t.now + 60s);
  EXPECT_EQ(t.dog.judge(t.now + 65s).health, rank_health::healthy);
  EXPECT_EQ(t.dog.judge(t.now + 71s).health, rank_health::hung) << "ten seconds after it should be over";
  t.steps(1, [](int r, int) { return r == 0 ? 50s : 100ms; });
  EXPECT_EQ(t.dog.own_time(0), nanoseconds{100ms});
  training fresh{{.learnt_after = 1}};
  fresh.dog.expect_pause(fresh.now + 60s);
  fresh.steps(1, [](int, int) { return 50s; });
  EXPECT_EQ(fresh.dog.own_time(0), nanoseconds{0});
}

TEST(watchdog_policy, the_first_death_is_the_cause_whatever_follows) {
  training t;
  t.steps(10, even);
  t.dog.ended(2, "signal 9");
  t.dog.ended(0, "exit code 1");
  const auto v = t.dog.judge(t.now + 1h);
  EXPECT_EQ(v.health, rank_health::dead);
  EXPECT_EQ(v.rank, 2);
  EXPECT_EQ(v.reason, "rank 2 ended: signal 9");
}

TEST(watchdog_policy, own_times_that_ranks_tell_themselves_are_learnt_once_a_step) {
  training t{{.learnt_after = 3}};
  for (std::uint64_t step = 1; step <= 3; ++step)
    for (int r = 0; r < 3; ++r)
      for (int again = 0; again < 5; ++again)
        t.dog.took(r, step, again > 0 ? nanoseconds{9s} : r == 2 ? nanoseconds{300ms} : nanoseconds{100ms});
  EXPECT_EQ(t.dog.own_time(2), nanoseconds{300ms});
  EXPECT_EQ(t.dog.judge(t.now).rank, 2);
  t.dog.took(1, 2, 9s);
  EXPECT_EQ(t.dog.own_time(1), nanoseconds{100ms}) << "an old step";
}

TEST(watchdog_policy, a_fixed_time_replaces_what_is_learnt_from_the_first_finished_step_on) {
  watchdog_policy dog{2, start, {.fixed = 2s}};
  EXPECT_EQ(dog.judge(start + 299s).health, rank_health::healthy) << "before the first step there is another limit";
  for (int r : {0, 1})
    dog.finished(r, 0, start + 300s);
  EXPECT_EQ(dog.judge(start + 302s).health, rank_health::healthy);
  EXPECT_EQ(dog.judge(start + 302s + 1ms).health, rank_health::hung);
}

TEST(watchdog_policy, late_and_repeated_reports_change_nothing) {
  training t;
  t.steps(10, even);
  t.dog.arrived(0, 3, t.now + 50s);
  t.dog.finished(0, 3, t.now + 50s);
  t.dog.arrived(0, t.step + 1, t.now + 100ms);
  t.dog.arrived(0, t.step + 1, t.now + 50s);
  EXPECT_EQ(t.dog.own_time(0), nanoseconds{100ms});
  EXPECT_EQ(t.dog.judge(t.now + 1s).health, rank_health::healthy);
}

} // namespace
