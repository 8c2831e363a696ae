#include "actors/learner/learner_policy.hpp"

#include "cluster/base/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

using namespace flywheel;
using namespace std::chrono_literals;
using testing::HasSubstr;

namespace {

using state = retrain_record::state;

wall_time at(nanoseconds t) { return wall_time{1'700'000'000'000'000'000} + t; }

drift_incident incident() { return {"i-7", "g-1", "churn", at(0s), "total_day_minutes shifted: PSI 0.61", {"total_day_minutes"}, 19, 1}; }

/// Started so long before now, ran for a minute.
retrain_record before(nanoseconds ago, state phase, std::string for_incident = "i-old") {
  return {"g-retrain", std::move(for_incident), at(-ago), at(-ago + 1min), phase};
}

} // namespace

TEST(learner_policy, a_table_of_situations) {
  struct situation {
    const char* name;
    std::vector<retrain_record> history;
    std::function<void(drift_incident&, retrain_spec&, search_budget&)> change;
    learner_action action;
    const char* reason;
    nanoseconds after{};
  };
  const auto nothing = [](auto&, auto&, auto&) {};
  const std::vector<situation> table = {
      {"first incident", {}, nothing, learner_action::retrain, "50 % of the search budget (20 trials)"},
      {"one is running", {before(5min, state::running)}, nothing, learner_action::wait, "retraining this model already"},
      {"answered already", {before(5h, state::succeeded, "i-7")}, nothing, learner_action::wait, "has answered incident i-7"},
      {"a person cancelled it", {before(5h, state::cancelled, "i-7")}, nothing, learner_action::escalate, "cancelled"},
      {"cancelled for another incident", {before(5h, state::cancelled)}, nothing, learner_action::retrain, "incident i-7"},
      {"failed once", {before(5h, state::failed, "i-7")}, nothing, learner_action::retrain, "incident i-7"},
      {"failed twice in a row", {before(50h, state::failed, "i-7"), before(26h, state::failed, "i-7")}, nothing,
       learner_action::escalate, "last 2 retrain goals failed"},
      {"failed, succeeded, failed", {before(90h, state::failed), before(60h, state::succeeded), before(30h, state::failed)},
       nothing, learner_action::retrain, "incident i-7"},
      {"switched off", {}, [](auto&, retrain_spec& p, auto&) { p.automatic = false; }, learner_action::escalate, "switched off"},
      {"none allowed", {}, [](auto&, retrain_spec& p, auto&) { p.per_day_max = 0; }, learner_action::escalate, "per_day_max is 0"},
      {"no budget", {}, [](auto&, retrain_spec& p, auto&) { p.budget_fraction = 0; }, learner_action::escalate, "no budget"},
      {"budget is not a number", {}, [](auto&, retrain_spec& p, auto&) { p.budget_fraction = std::stod("nan"); },
       learner_action::escalate, "no budget"},
      {"limit of the day", {before(20h, state::succeeded), before(3h, state::succeeded)}, nothing, learner_action::wait,
       "2 retrains in the last 24 hours", 4h},
      {"limit of the day, accuracy falling", {before(20h, state::succeeded), before(3h, state::succeeded)},
       [](drift_incident& i, auto&, auto&) { i.subjects.push_back("accuracy"); }, learner_action::escalate, "accuracy is falling"},
      {"limit was yesterday", {before(25h, state::succeeded), before(3h, state::succeeded)}, nothing, learner_action::retrain, ""},
      {"cooling down", {before(31min, state::succeeded)}, nothing, learner_action::wait, "policy.retrain.cooldown", 30min},
      {"cooled down", {before(61min, state::succeeded)}, nothing, learner_action::retrain, ""},
      {"the clock was set back", {before(-2h, state::succeeded)}, nothing, learner_action::wait, "cooldown", 1h},
      {"everything shifted", {}, [](drift_incident& i, auto&, auto&) { i.features_shifted = 16; }, learner_action::escalate,
       "16 of 19 features shifted at once"},
      {"a small model shifted wholly", {}, [](drift_incident& i, auto&, auto&) { i.features = i.features_shifted = 3; },
       learner_action::retrain, ""},
  };
  for (const auto& s : table) {
    auto i = incident();
    retrain_spec policy;
    search_budget budget;
    s.change(i, policy, budget);
    const auto v = decide_retrain(i, s.history, policy, budget, at(0s));
    EXPECT_EQ(v.action, s.action) << s.name << ": " << v.reason;
    EXPECT_THAT(v.reason, HasSubstr(s.reason)) << s.name;
    EXPECT_EQ(v.after, s.after) << s.name;
    EXPECT_EQ(v.overrides.empty(), s.action != learner_action::retrain) << s.name;
  }
}

TEST(learner_policy, the_overrides_bound_the_new_goal) {
  search_budget budget;
  budget.trials = 41;
  budget.wall_time = 10min;
  budget.slot_seconds = 1200;
  retrain_spec policy;
  const auto v = decide_retrain(incident(), {}, policy, budget, at(0s));
  EXPECT_EQ(v.overrides.at("search.budget.trials"), "20");
  EXPECT_EQ(parse_duration(v.overrides.at("search.budget.wall_time")).value_or(0s), 5min);
  EXPECT_EQ(v.overrides.at("search.budget.slot_seconds"), "600");
  EXPECT_EQ(v.overrides.at("policy.retrain.automatic"), "false");
}

TEST(learner_policy, a_fraction_above_one_never_exceeds_the_goals_own_budget_and_a_tiny_one_is_still_a_search) {
  search_budget budget;
  retrain_spec policy;
  policy.budget_fraction = 7;
  EXPECT_EQ(decide_retrain(incident(), {}, policy, budget, at(0s)).overrides.at("search.budget.trials"), "40");
  policy.budget_fraction = 1e-6;
  const auto v = decide_retrain(incident(), {}, policy, budget, at(0s));
  EXPECT_EQ(v.overrides.at("search.budget.trials"), "1");
  EXPECT_EQ(v.overrides.at("search.budget.wall_time"), "1s");
}

// Whatever the history, one decision after the other never opens more retrains than the policy allows.
TEST(learner_policy, a_month_of_incidents_stays_within_the_limits) {
  retrain_spec policy;
  policy.per_day_max = 3;
  policy.cooldown = 2h;
  std::vector<retrain_record> history;
  std::vector<nanoseconds> opened;
  for (nanoseconds t = 0s; t < 30 * 24h; t += 20min) {
    auto i = incident();
    i.id = "i-" + std::to_string(t.count());
    const auto v = decide_retrain(i, history, policy, {}, at(t));
    if (v.action != learner_action::retrain)
      continue;
    opened.push_back(t);
    history.push_back({"g", i.id, at(t), at(t + 10min), state::succeeded});
  }
  EXPECT_GE(opened.size(), 80u);
  for (std::size_t i = 0; i < opened.size(); ++i) {
    if (i >= 1) {
      EXPECT_GE(opened[i] - opened[i - 1], 2h + 10min);
    }
    if (i >= 3) {
      EXPECT_GE(opened[i] - opened[i - 3], 24h);
    }
  }
}
