#include "cluster/base/json.hpp"
#include "deploy/rollout_policy.hpp"

#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using testing::HasSubstr;
using std::chrono::seconds;

namespace {

/// Steps 5, 25, 100; 100 requests and 1 s a step; 1 % errors; p99 of 100 ms; a drop of 0.02.
rollout_policy begin(bool has_champion = true, rollout_spec spec = {}) { return *rollout_policy::begin(spec, has_champion, mono_time{}); }
mono_time at(double s) { return mono_time{static_cast<std::int64_t>(s * 1e9)}; }

struct traffic {
  int requests = 0, errors = 0, slow = 0; ///< errors and slow ones are among the requests and come last
};
void send(rollout_policy& p, bool challenger, traffic t) {
  for (int i = 0; i < t.requests; ++i)
    p.observe(challenger, i >= t.requests - t.errors ? 500 : 200, i >= t.requests - t.slow ? 500.0 : 1.0);
}
void label(rollout_policy& p, bool challenger, int labels, int right) {
  for (int i = 0; i < labels; ++i)
    p.label(challenger, i < right ? 1 : 0);
}

} // namespace

TEST(rollout_policy, the_first_step_is_decided_by_its_evidence) {
  struct line {
    const char* situation;
    traffic challenger;
    double seconds;
    rollout_action verdict;
    const char* reason;
  };
  for (const line& l : std::initializer_list<line>{
           {"nothing happened yet", {}, 0, rollout_action::hold, "at 5 %: 0 of 100 requests"},
           {"time alone proves nothing", {}, 3600, rollout_action::hold, "0 of 100 requests"},
           {"one request is missing", {99}, 10, rollout_action::hold, "99 of 100 requests"},
           {"requests came too quickly", {1000}, 0.5, rollout_action::hold, "500ms of 1.0s"},
           {"just enough of both", {100}, 1, rollout_action::advance, "answered 100 requests with 0 errors"},
           {"errors exactly at the limit", {100, 1}, 1, rollout_action::advance, "1 error"},
           {"errors above the limit", {100, 2}, 1, rollout_action::rollback, "2 of the challenger's 100 requests at 5 % failed (2.00 %), more than the 1.00 % allowed"},
           {"few requests, clearly broken", {5, 5}, 0, rollout_action::rollback, "5 of the challenger's 5 requests"},
           {"few requests, perhaps bad luck", {5, 2}, 0, rollout_action::hold, "5 of 100 requests"},
           {"one in a hundred slow: the p99 holds", {100, 0, 1}, 1, rollout_action::advance, "100 requests"},
           {"two in a hundred slow", {100, 0, 2}, 1, rollout_action::rollback, "2 of the challenger's 100 requests at 5 % took longer than 100 ms"},
           {"clearly slow at once", {10, 0, 10}, 0, rollout_action::rollback, "99th percentile"},
       }) {
    auto p = begin();
    send(p, true, l.challenger);
    const auto v = p.judge(at(l.seconds));
    EXPECT_EQ(v.action, l.verdict) << l.situation << ": " << v.reason;
    EXPECT_THAT(v.reason, HasSubstr(l.reason)) << l.situation;
    EXPECT_EQ(v.percent, l.verdict == rollout_action::advance ? 25 : l.verdict == rollout_action::rollback ? 0 : 5) << l.situation;
    EXPECT_EQ(v.numbers.at("requests"), l.challenger.requests);
  }
}

TEST(rollout_policy, quality_is_compared_on_labels) {
  struct line {
    const char* situation;
    int champion_labels, champion_right, challenger_labels, challenger_right;
    rollout_action verdict;
    const char* reason;
  };
  for (const line& l : std::initializer_list<line>{
           {"no labels block nothing", 0, 0, 0, 0, rollout_action::advance, "quality was not compared (0 and 0 labels, 30 each are needed)"},
           {"too few labels to judge", 1000, 950, 29, 0, rollout_action::advance, "quality was not compared"},
           {"equally good", 1000, 950, 100, 95, rollout_action::advance, "quality holds (champion 0.95 on 1000 labels, challenger 0.95 on 100)"},
           {"better", 1000, 900, 100, 99, rollout_action::advance, "quality holds"},
           {"worse within the limit", 10'000, 9'500, 10'000, 9'350, rollout_action::advance, "quality holds"},
           {"clearly worse", 1000, 950, 100, 70, rollout_action::rollback, "the challenger is worse by 0.25"},
           {"perhaps worse: wait", 1000, 950, 40, 36, rollout_action::hold, "may be chance"},
           // 1.5 standard errors: one equal model in fifteen looks like that, and used to be rolled back for it
           {"perhaps worse for long: still perhaps", 1000, 950, 150, 137, rollout_action::hold, "may be chance"},
           {"the same drop on more labels", 1000, 950, 450, 411, rollout_action::rollback, "worse by 0.0367"},
       }) {
    auto p = begin();
    send(p, true, {200});
    label(p, false, l.champion_labels, l.champion_right);
    label(p, true, l.challenger_labels, l.challenger_right);
    const auto v = p.judge(at(5));
    EXPECT_EQ(v.action, l.verdict) << l.situation << ": " << v.reason;
    EXPECT_THAT(v.reason, HasSubstr(l.reason)) << l.situation;
  }
}

TEST(rollout_policy, the_same_rows_say_more_than_different_ones) {
  struct line {
    const char* situation;
    int rows, only_champion_right, only_challenger_right; ///< of the rest both are right
    rollout_action verdict;
    const char* reason;
  };
  for (const line& l : std::initializer_list<line>{
           {"the same model", 30, 0, 0, rollout_action::advance, "quality holds (both on the same 30 labelled rows: the challenger is level with the champion"},
           {"another, as good", 1000, 20, 20, rollout_action::advance, "quality holds"},
           {"better", 1000, 5, 60, rollout_action::advance, "the challenger 0.055 above the champion"},
           {"worse within the limit", 10'000, 150, 20, rollout_action::advance, "quality holds"},
           {"one bad row of 30", 30, 1, 0, rollout_action::hold, "may be chance"},
           {"clearly worse", 200, 20, 2, rollout_action::rollback, "worse by 0.09 (both on the same 200 labelled rows"},
       }) {
    auto p = begin();
    send(p, true, {200});
    label(p, false, 1000, 1000); // by themselves these would roll back: the rows that the challenger got were harder
    label(p, true, 60, 40);
    for (int i = 0; i < l.rows; ++i)
      p.compare(i < l.only_challenger_right ? 0 : 1, i >= l.rows - l.only_champion_right ? 0 : 1);
    const auto v = p.judge(at(5));
    EXPECT_EQ(v.action, l.verdict) << l.situation << ": " << v.reason;
    EXPECT_THAT(v.reason, HasSubstr(l.reason)) << l.situation;
    EXPECT_EQ(v.numbers.at("paired_labels"), l.rows);
  }
}

// A challenger that is as good as the champion but errs on other rows, looked at after every 250 rows as a rollout does.
TEST(rollout_policy, an_equal_model_is_seldom_rolled_back_and_a_worse_one_always) {
  const auto rolled_back = [](std::uint64_t seed, double champion_only, double challenger_only) {
    random_source random{seed};
    auto p = begin();
    send(p, true, {200});
    for (int look = 0; look < 40; ++look) {
      for (int i = 0; i < 250; ++i) {
        const double u = random.uniform();
        p.compare(u < challenger_only ? 0 : 1, u >= challenger_only && u < challenger_only + champion_only ? 0 : 1);
      }
      if (const auto v = p.judge(at(5)); v.action != rollout_action::hold)
        return v.action == rollout_action::rollback;
    }
    ADD_FAILURE() << "10,000 rows did not decide, seed " << seed;
    return false;
  };
  int equal = 0, worse = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    equal += rolled_back(seed, 0.03, 0.03);
    worse += rolled_back(seed, 0.12, 0.02);
  }
  EXPECT_LE(equal, 9) << "of 300 models as good as the champion";
  EXPECT_EQ(worse, 300) << "of 300 models that are worse by 0.1";
}

TEST(rollout_policy, walks_the_steps_to_the_end_and_stays_there) {
  auto p = begin();
  double now = 0;
  for (const double percent : {5.0, 25.0, 100.0}) {
    EXPECT_EQ(p.challenger_percent(), percent);
    EXPECT_EQ(p.judge(at(now + 100)).action, rollout_action::hold) << "each step needs its own requests";
    send(p, true, {100});
    now += 100;
    const auto v = p.judge(at(now));
    EXPECT_EQ(v.action, percent < 100 ? rollout_action::advance : rollout_action::complete);
    p.apply(v, at(now));
    EXPECT_EQ(p.judge(at(now)).action, rollout_action::hold);
  }
  EXPECT_TRUE(p.finished());
  EXPECT_EQ(p.outcome(), rollout_action::complete);
  EXPECT_EQ(p.challenger_percent(), 100);
  send(p, true, {100, 100});
  EXPECT_EQ(p.judge(at(now + 1000)).action, rollout_action::hold);
}

TEST(rollout_policy, an_error_at_any_step_rolls_everything_back) {
  auto p = begin();
  send(p, true, {100});
  p.apply(p.judge(at(1)), at(1));
  send(p, true, {100, 50});
  const auto v = p.judge(at(1.1));
  EXPECT_EQ(v.action, rollout_action::rollback);
  EXPECT_THAT(v.reason, HasSubstr("at 25 %"));
  p.apply(v, at(1.1));
  EXPECT_EQ(p.challenger_percent(), 0);
  EXPECT_EQ(p.outcome(), rollout_action::rollback);
  EXPECT_EQ(p.judge(at(9)).action, rollout_action::hold);
}

TEST(rollout_policy, the_champions_errors_are_reported_but_not_held_against_the_challenger) {
  auto p = begin();
  send(p, false, {1000, 500});
  send(p, true, {100});
  const auto v = p.judge(at(1));
  EXPECT_EQ(v.action, rollout_action::advance);
  EXPECT_EQ(v.numbers.at("champion_error_rate"), 0.5);
  EXPECT_EQ(v.numbers.at("error_rate"), 0);
}

TEST(rollout_policy, labels_of_earlier_steps_still_count) {
  auto p = begin();
  send(p, true, {100});
  p.apply(p.judge(at(1)), at(1));
  send(p, true, {100});
  label(p, false, 500, 480);
  label(p, true, 60, 30);
  EXPECT_EQ(p.judge(at(2)).action, rollout_action::rollback);
}

TEST(rollout_policy, the_first_release_has_no_champion_but_the_same_gates) {
  auto p = begin(false);
  send(p, true, {100});
  label(p, true, 100, 10);
  const auto v = p.judge(at(1));
  EXPECT_EQ(v.action, rollout_action::advance);
  EXPECT_THAT(v.reason, HasSubstr("no champion to compare with"));
  EXPECT_EQ(v.numbers.count("champion_requests"), 0U);
  p.apply(v, at(1));
  send(p, true, {100, 3});
  EXPECT_EQ(p.judge(at(3)).action, rollout_action::rollback);
}

TEST(rollout_policy, judging_changes_nothing) {
  auto p = begin();
  send(p, true, {100});
  const auto before = p.to_json(at(1)).dump();
  EXPECT_EQ(p.judge(at(1)).reason, p.judge(at(1)).reason);
  EXPECT_EQ(p.to_json(at(1)).dump(), before);
}

TEST(rollout_policy, a_clock_that_stands_or_runs_back_is_no_evidence) {
  auto p = *rollout_policy::begin({}, true, at(100));
  send(p, true, {100});
  EXPECT_EQ(p.judge(at(100)).action, rollout_action::hold);
  EXPECT_EQ(p.judge(at(5)).action, rollout_action::hold);
  EXPECT_EQ(p.judge(at(101)).action, rollout_action::advance);
}

// Two policies see the same history; one of them is killed and restored after every event, with another clock each time.
TEST(rollout_policy, killed_at_any_moment_it_decides_as_if_nothing_had_happened) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    random_source random{seed};
    rollout_spec spec;
    spec.step_requests_min = 20;
    auto undisturbed = begin(true, spec), killed = begin(true, spec);
    const double error_chance = seed % 3 == 0 ? 0.05 : 0.0, right_chance = seed % 4 == 0 ? 0.5 : 0.95;
    double now = 0, offset = 0;
    for (int event = 0; event < 400 && !undisturbed.finished(); ++event) {
      now += random.uniform(0, 0.1);
      const bool challenger = random.uniform() < 0.5, failed = random.uniform() < error_chance;
      const double latency = random.uniform(0.005, 40), score = random.uniform() < right_chance ? 1 : 0;
      for (auto* p : {&undisturbed, &killed}) {
        p->observe(challenger, failed ? 500 : 200, latency);
        p->label(challenger, score);
        if (seed % 2 == 0)
          p->compare(score, right_chance);
      }
      const auto a = undisturbed.judge(at(now)), b = killed.judge(at(now + offset));
      ASSERT_EQ(a.action, b.action) << seed;
      ASSERT_EQ(a.reason, b.reason) << seed;
      undisturbed.apply(a, at(now));
      killed.apply(b, at(now + offset));
      const auto text = killed.to_json(at(now + offset)).dump();
      offset = random.uniform(-1000, 1000);
      auto restored = rollout_policy::from_json(nlohmann::json::parse(text), spec, at(now + offset));
      ASSERT_TRUE(restored) << restored.error().to_string();
      killed = *restored;
      ASSERT_EQ(killed.challenger_percent(), undisturbed.challenger_percent());
    }
  }
}

TEST(rollout_policy, the_state_of_an_older_program_goes_on_without_paired_rows) {
  auto p = begin();
  send(p, true, {100});
  auto state = p.to_json(at(0));
  state["format"] = 1;
  state.erase("paired_drop");
  const auto q = rollout_policy::from_json(state, {}, at(0));
  ASSERT_TRUE(q) << q.error().to_string();
  EXPECT_EQ(q->judge(at(1)).action, rollout_action::advance);
  EXPECT_EQ(q->judge(at(1)).numbers.at("paired_labels"), 0);
}

TEST(rollout_policy, time_while_nobody_ran_is_no_evidence) {
  auto p = begin();
  send(p, true, {100});
  const auto state = p.to_json(at(0.4));
  auto q = *rollout_policy::from_json(state, {}, at(5000));
  EXPECT_EQ(q.judge(at(5000.5)).action, rollout_action::hold);
  EXPECT_EQ(q.judge(at(5000.6)).action, rollout_action::advance);
}

TEST(rollout_policy, a_state_that_is_not_one_is_refused) {
  const auto good = begin().to_json(at(0));
  EXPECT_TRUE(rollout_policy::from_json(good, {}, at(0)));
  for (const auto& item : good.items()) {
    auto without = good;
    without.erase(item.key());
    EXPECT_FALSE(rollout_policy::from_json(without, {}, at(0))) << item.key();
    auto wrong = good;
    wrong[item.key()] = "nonsense";
    EXPECT_FALSE(rollout_policy::from_json(wrong, {}, at(0))) << item.key();
  }
  auto beyond = good;
  beyond["step"] = 3;
  EXPECT_FALSE(rollout_policy::from_json(beyond, {}, at(0)));
  rollout_spec other;
  other.steps = {50, 100};
  EXPECT_FALSE(rollout_policy::from_json(good, other, at(0)));
}

TEST(rollout_policy, steps_must_increase_to_a_hundred) {
  for (const auto& steps : std::vector<std::vector<double>>{{}, {5}, {25, 5, 100}, {0, 100}, {5, 5, 100}, {5, 101}, {-1, 100}}) {
    rollout_spec spec;
    spec.steps = steps;
    EXPECT_FALSE(rollout_policy::begin(spec, true, at(0)));
  }
  rollout_spec one;
  one.steps = {100};
  EXPECT_TRUE(rollout_policy::begin(one, true, at(0)));
}

TEST(rollout_policy, the_histogram_finds_quantiles_within_a_bucket) {
  auto p = begin();
  for (int i = 1; i <= 1000; ++i)
    p.observe(true, 200, i / 20.0); // 0.05 .. 50 ms
  const double p99 = p.judge(at(0)).numbers.at("latency_p99_ms");
  EXPECT_GE(p99, 49.5);
  EXPECT_LE(p99, 49.5 * 1.25);
}
