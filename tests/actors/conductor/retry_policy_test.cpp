#include "actors/conductor/retry_policy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

using namespace flywheel;
using namespace std::chrono_literals;
using testing::HasSubstr;

namespace {
wall_time at(nanoseconds t) { return wall_time{1'700'000'000'000'000'000} + t; }
error fault_of(errc code) { return {code, "what happened"}; }
} // namespace

TEST(retry_policy, every_error_has_a_verdict_with_a_reason) {
  struct row { errc code; retry_action action; };
  const row rows[] = {
      {errc::timed_out, retry_action::retry},          {errc::worker_lost, retry_action::retry},
      {errc::protocol_violation, retry_action::retry}, {errc::unreachable, retry_action::retry},
      {errc::out_of_memory, retry_action::retry},      {errc::disk_full, retry_action::retry},
      {errc::address_in_use, retry_action::retry},     {errc::internal, retry_action::retry},
      {errc::invalid_goal, retry_action::fail},        {errc::invalid_data, retry_action::fail},
      {errc::not_found, retry_action::fail},           {errc::gate_failed, retry_action::fail},
      {errc::gate_inconclusive, retry_action::ask_person}, {errc::training_diverged, retry_action::fail},
      {errc::cancelled, retry_action::fail},           {errc::stale_epoch, retry_action::fail},
      {errc::not_approved, retry_action::ask_person},  {errc::budget_exhausted, retry_action::ask_person},
      {errc::waiting_for_approval, retry_action::ask_person}, {errc::checksum_mismatch, retry_action::ask_person},
      {errc::journal_damaged, retry_action::ask_person}, {errc::ok, retry_action::fail},
  };
  for (const auto& r : rows) {
    retry_policy policy;
    const auto v = policy.judge("hpo", "g/explore", fault_of(r.code), 1, at(0s));
    EXPECT_EQ(v.action, r.action) << name_of(r.code);
    EXPECT_FALSE(v.reason.empty());
    EXPECT_EQ(v.after > 0s, r.action == retry_action::retry) << name_of(r.code);
  }
  for (int i = 0; i <= static_cast<int>(errc::internal); ++i) {
    retry_policy policy;
    EXPECT_FALSE(policy.judge("a", "k", fault_of(static_cast<errc>(i)), 1, at(0s)).reason.empty());
  }
}

TEST(retry_policy, waits_double_within_their_jitter_up_to_the_cap_and_attempts_end) {
  retry_options o;
  o.attempts_transient = 12;
  o.failures_to_open = 1000;
  retry_policy policy{o};
  nanoseconds full = 1s;
  for (std::uint32_t attempt = 1; attempt < 12; ++attempt, full = std::min<nanoseconds>(2 * full, 120s)) {
    const auto v = policy.judge("hpo", "g/s", fault_of(errc::timed_out), attempt, at(0s));
    EXPECT_EQ(v.action, retry_action::retry);
    EXPECT_LE(v.after, full);
    EXPECT_GE(v.after, full / 2);
  }
  const auto last = policy.judge("hpo", "g/s", fault_of(errc::timed_out), 12, at(0s));
  EXPECT_EQ(last.action, retry_action::fail);
  EXPECT_THAT(last.reason, HasSubstr("attempt 12 of 12"));
  EXPECT_EQ(retry_policy{}.judge("a", "k", fault_of(errc::timed_out), 4'000'000'000u, at(0s)).action, retry_action::fail);
}

TEST(retry_policy, a_lasting_lack_of_resources_ends_with_a_person) {
  retry_policy policy;
  EXPECT_EQ(policy.judge("t", "g/s", fault_of(errc::disk_full), 4, at(0s)).action, retry_action::ask_person);
}

TEST(retry_policy, jitter_spreads_steps_and_repeats_with_the_seed) {
  std::set<std::int64_t> waits;
  for (int i = 0; i < 50; ++i) {
    retry_policy a, b;
    const auto key = "g/" + std::to_string(i);
    const auto v = a.judge("hpo", key, fault_of(errc::timed_out), 1, at(0s));
    EXPECT_EQ(v.after, b.judge("hpo", key, fault_of(errc::timed_out), 1, at(0s)).after);
    waits.insert(v.after.count());
  }
  EXPECT_GT(waits.size(), 45u);
}

TEST(retry_policy, the_breaker_opens_probes_and_closes_on_time) {
  retry_policy policy;
  const auto fails = [&](nanoseconds when) { return policy.judge("hpo", "g/s", fault_of(errc::timed_out), 1, at(when)); };
  for (int i = 0; i < 4; ++i)
    fails(0s);
  EXPECT_EQ(policy.breaker_of("hpo", at(0s)), breaker_state::closed);
  EXPECT_EQ(policy.hold("hpo", at(0s)), 0s);
  const auto opening = fails(0s);
  EXPECT_EQ(policy.breaker_of("hpo", at(0s)), breaker_state::open);
  EXPECT_EQ(opening.after, 30s);
  EXPECT_THAT(opening.reason, HasSubstr("5 times in a row"));
  EXPECT_EQ(policy.hold("hpo", at(10s)), 20s);
  EXPECT_EQ(policy.breaker_of("trainer", at(0s)), breaker_state::closed); // each agent has its own

  EXPECT_EQ(policy.breaker_of("hpo", at(30s)), breaker_state::half_open);
  EXPECT_EQ(policy.hold("hpo", at(30s)), 0s);   // the probe
  EXPECT_EQ(policy.hold("hpo", at(31s)), 29s);  // everybody else
  EXPECT_EQ(fails(32s).after, 60s);             // it failed: twice as long
  EXPECT_EQ(policy.breaker_of("hpo", at(91s)), breaker_state::open);
  EXPECT_EQ(policy.breaker_of("hpo", at(92s)), breaker_state::half_open);
  EXPECT_EQ(policy.hold("hpo", at(92s)), 0s);
  policy.succeeded("hpo");
  EXPECT_EQ(policy.breaker_of("hpo", at(93s)), breaker_state::closed);
  EXPECT_LT(fails(93s).after, 2s);
}

TEST(retry_policy, a_persons_mistakes_do_not_open_the_breaker) {
  retry_policy policy;
  for (int i = 0; i < 100; ++i)
    (void)policy.judge("data_steward", "g/ingest", fault_of(errc::invalid_data), 1, at(0s));
  EXPECT_EQ(policy.breaker_of("data_steward", at(0s)), breaker_state::closed);
}

TEST(retry_policy, a_lost_probe_is_replaced) {
  retry_policy policy;
  for (int i = 0; i < 5; ++i)
    (void)policy.judge("hpo", "g/s", fault_of(errc::timed_out), 1, at(0s));
  EXPECT_EQ(policy.hold("hpo", at(30s)), 0s);
  EXPECT_EQ(policy.hold("hpo", at(60s)), 0s);
}
