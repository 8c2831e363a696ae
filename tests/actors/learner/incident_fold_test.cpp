// Incidents as the journal tells them: answered once, never forgotten, whoever died in between.

#include "actors/learner/incident_fold.hpp"
#include "cluster/base/json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

namespace {

struct journal_of_incidents {
  std::vector<event> events;
  event& add(event_kind kind, std::string goal, std::string subject, const json& body) {
    event e;
    e.kind = kind;
    e.goal = std::move(goal);
    e.subject = std::move(subject);
    e.body = body.dump();
    e.seq = events.size() + 1;
    e.time.ns = static_cast<std::int64_t>(e.seq) * 1'000'000'000;
    events.push_back(e);
    return events.back();
  }
  void submitted(std::string goal = "g-1") {
    add(event_kind::goal_submitted, goal, goal, {{"user", "ana"}, {"spec", {{"name", "churn"}}}});
  }
  void confirmed(std::string incident, std::string goal = "g-1") {
    add(event_kind::decision, goal, "", {{"choice", "confirm a shift"}, {"reason", "minutes shifted"},
                                         {"evidence", {{"incident", incident}, {"model", "churn/v1"}, {"window", 4}}}})
        .actor = "monitor";
  }
  void answered(std::string incident, learner_action action) {
    add(event_kind::incident, "g-1", incident, {{"rung", std::string{name_of(action)}}});
  }
  void opened(std::string incident, std::string retrain, std::string model = "churn") {
    add(event_kind::effect_done, "g-1", "", {{"goal", retrain}, {"incident", incident}, {"model", model}}).key =
        "retrain/g-1/" + incident;
  }
  void ended(std::string goal, std::string state) { add(event_kind::goal_state, goal, goal, {{"state", state}}); }
  std::vector<std::string> open() const {
    std::vector<std::string> names;
    for (const auto& m : open_incidents(events))
      names.push_back(m.incident);
    return names;
  }
};
using names = std::vector<std::string>;

} // namespace

TEST(incident_fold, a_confirmed_shift_is_open_until_its_goal_is_opened) {
  journal_of_incidents j;
  j.submitted();
  EXPECT_EQ(j.open(), names{});
  j.confirmed("drift-1");
  EXPECT_EQ(j.open(), names{"drift-1"});
  j.answered("drift-1", learner_action::retrain);
  EXPECT_EQ(j.open(), names{"drift-1"}) << "decided, but a crash may lie before the goal";
  j.opened("drift-1", "churn-retrain-1");
  EXPECT_EQ(j.open(), names{});
}

TEST(incident_fold, who_waits_is_still_open_and_a_persons_business_is_not) {
  journal_of_incidents j;
  j.submitted();
  j.confirmed("drift-1");
  j.confirmed("drift-2");
  j.answered("drift-1", learner_action::wait);
  j.answered("drift-2", learner_action::escalate);
  EXPECT_EQ(j.open(), names{"drift-1"});
}

TEST(incident_fold, an_open_incident_carries_all_that_the_learner_needs) {
  journal_of_incidents j;
  j.submitted();
  j.confirmed("drift-1");
  const auto open = open_incidents(j.events);
  ASSERT_EQ(open.size(), 1u);
  EXPECT_EQ(open[0].goal, "g-1");
  EXPECT_EQ(open[0].model, "churn/v1");
  EXPECT_EQ(open[0].reason, "minutes shifted");
  EXPECT_EQ(json::parse(open[0].spec_json), json({{"name", "churn"}}));
  EXPECT_EQ(json::parse(open[0].evidence_json).at("window"), 4);
  EXPECT_EQ(submitter_of(j.events, "g-1"), "ana");
  EXPECT_EQ(submitter_of(j.events, "g-9"), "");
}

TEST(incident_fold, the_same_incident_is_open_once_and_goals_do_not_mix) {
  journal_of_incidents j;
  j.submitted("g-1");
  j.submitted("g-2");
  j.confirmed("drift-1", "g-1");
  j.confirmed("drift-1", "g-1");
  j.confirmed("drift-1", "g-2");
  EXPECT_EQ(j.open(), (names{"drift-1", "drift-1"}));
  j.opened("drift-1", "churn-retrain-1");
  const auto open = open_incidents(j.events);
  ASSERT_EQ(open.size(), 1u);
  EXPECT_EQ(open[0].goal, "g-2");
}

TEST(incident_fold, decisions_of_others_and_unreadable_bodies_open_nothing) {
  journal_of_incidents j;
  j.submitted();
  j.add(event_kind::decision, "g-1", "", {{"choice", "x"}, {"evidence", {{"incident", "drift-1"}}}}).actor = "hpo";
  j.add(event_kind::decision, "g-1", "", {{"choice", "confirm"}, {"evidence", json::array()}}).actor = "monitor";
  j.add(event_kind::decision, "g-1", "", {}).body = "{";
  j.events.back().actor = "monitor";
  j.confirmed("drift-2", "a-goal-that-is-not-there");
  EXPECT_EQ(j.open(), names{});
}

TEST(incident_fold, retrains_are_those_of_the_model_with_how_they_ended) {
  journal_of_incidents j;
  j.submitted();
  j.opened("drift-1", "churn-retrain-1");
  j.opened("drift-2", "churn-retrain-2");
  j.opened("drift-3", "other-retrain", "other");
  j.opened("drift-4", "churn-retrain-4");
  j.ended("churn-retrain-1", "done");
  j.ended("churn-retrain-2", "failed");
  j.ended("churn-retrain-4", "waiting");
  const auto r = retrains_of(j.events, "churn");
  ASSERT_EQ(r.size(), 3u);
  EXPECT_EQ(r[0].phase, retrain_record::state::succeeded);
  EXPECT_GT(r[0].ended.ns, r[0].started.ns);
  EXPECT_EQ(r[1].phase, retrain_record::state::failed);
  EXPECT_EQ(r[2].phase, retrain_record::state::running) << "waiting for approval is not an end";
  EXPECT_EQ(r[2].ended.ns, 0);
  j.ended("churn-retrain-2", "running");
  EXPECT_EQ(retrains_of(j.events, "churn")[1].phase, retrain_record::state::running) << "submitted again";
}

TEST(incident_fold, a_versions_model) {
  EXPECT_EQ(model_of_version("churn/v12"), "churn");
  EXPECT_EQ(model_of_version("churn"), "churn");
}
