#include "cluster/gang/restart_policy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

using namespace flywheel;
using namespace std::chrono_literals;
using testing::HasSubstr;

namespace {

gang_cause cause(gang_end end, int number, std::uint64_t step, std::uint64_t steps) {
  gang_cause c;
  c.end = end;
  c.rank = 1;
  (end == gang_end::killed ? c.signal : c.code) = number;
  c.has_stepped = steps > 0;
  c.step = step;
  c.steps = steps;
  return c;
}

} // namespace

TEST(restart_policy, ends_on_purpose_are_not_repeated) {
  for (const auto end : {gang_end::succeeded, gang_end::cancelled, gang_end::not_startable}) {
    restart_policy p{{}};
    EXPECT_FALSE(p.decide(cause(end, 0, 5, 5)).restart) << name_of(end);
  }
}

TEST(restart_policy, restarts_are_bounded_whatever_the_reason) {
  for (const auto end : {gang_end::killed, gang_end::hung, gang_end::frozen, gang_end::peers_only, gang_end::host_lost}) {
    restart_policy p{{.restarts_max = 3}};
    for (std::uint64_t i = 0; i < 3; ++i)
      EXPECT_TRUE(p.decide(cause(end, SIGKILL, 100 + i, 10)).restart);
    const auto last = p.decide(cause(end, SIGKILL, 200, 10));
    EXPECT_FALSE(last.restart);
    EXPECT_EQ(last.reason, "all 3 restarts are used up");
    EXPECT_EQ(p.restarts(), 3u);
  }
  restart_policy none{{.restarts_max = 0}};
  EXPECT_EQ(none.decide(cause(gang_end::killed, SIGKILL, 1, 1)).reason, "no restarts are allowed");
}

TEST(restart_policy, bad_input_at_the_same_step_twice_is_final) {
  restart_policy p{{.restarts_max = 100}};
  EXPECT_TRUE(p.decide(cause(gang_end::exit_code, 2, 40, 10)).restart);
  const auto second = p.decide(cause(gang_end::exit_code, 2, 40, 10));
  EXPECT_FALSE(second.restart);
  EXPECT_THAT(second.reason, HasSubstr("the same failure came twice at step 40"));
}

TEST(restart_policy, other_own_failures_at_the_same_step_are_final_the_third_time) {
  for (const auto& c : {cause(gang_end::exit_code, 1, 40, 10), cause(gang_end::killed, SIGSEGV, 40, 10), cause(gang_end::out_of_memory, 1, 40, 10)}) {
    restart_policy p{{.restarts_max = 100}};
    EXPECT_TRUE(p.decide(c).restart);
    EXPECT_TRUE(p.decide(c).restart);
    EXPECT_FALSE(p.decide(c).restart) << name_of(c.end);
  }
}

TEST(restart_policy, another_step_or_another_failure_starts_the_count_anew) {
  restart_policy p{{.restarts_max = 100}};
  for (std::uint64_t i = 0; i < 10; ++i) {
    EXPECT_TRUE(p.decide(cause(gang_end::exit_code, 2, i, 10)).restart);
    EXPECT_TRUE(p.decide(cause(gang_end::exit_code, 3, i, 10)).restart);
  }
}

TEST(restart_policy, what_comes_from_outside_may_come_at_the_same_step) {
  restart_policy p{{.restarts_max = 10}};
  for (int i = 0; i < 10; ++i)
    EXPECT_TRUE(p.decide(cause(gang_end::killed, SIGKILL, 40, 10)).restart);
}

TEST(restart_policy, a_gang_that_tells_no_steps_got_somewhere_if_it_lived_long) {
  restart_policy p{{.restarts_max = 100, .backoff_first = 1s, .repeats_max = 100}};
  auto silent = cause(gang_end::killed, SIGKILL, 0, 0);
  silent.lived = 10s;
  EXPECT_EQ(p.decide(silent).after, 0s);
  EXPECT_EQ(p.decide(silent).after, 1s);
  silent.lived = 60s;
  EXPECT_EQ(p.decide(silent).after, 0s);
  silent.reports = true;
  EXPECT_EQ(p.decide(silent).after, 0s);
  EXPECT_EQ(p.decide(silent).after, 1s) << "it tells its steps, and had none in all that time";
}

TEST(restart_policy, after_progress_at_once_before_it_ever_later) {
  restart_policy p{{.restarts_max = 100, .backoff_first = 1s, .backoff_max = 5s, .repeats_max = 100}};
  const auto start_failure = cause(gang_end::exit_code, 1, 0, 0);
  EXPECT_EQ(p.decide(cause(gang_end::killed, SIGKILL, 40, 10)).after, 0s);
  for (const auto expected : {0s, 1s, 2s, 4s, 5s, 5s})
    EXPECT_EQ(p.decide(start_failure).after, expected);
  EXPECT_EQ(p.decide(cause(gang_end::killed, SIGKILL, 41, 10)).after, 0s);
  EXPECT_EQ(p.decide(start_failure).after, 0s) << "progress forgives";
  EXPECT_EQ(p.decide(start_failure).after, 1s);
}
