#include "actors/conductor/goal_run.hpp"
#include "cluster/base/json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

namespace {

constexpr wall_time t0{1'700'000'000'000'000'000};

goal_spec small_spec() {
  goal_spec s;
  s.name = "churn";
  s.target = "churn";
  s.metric = {"accuracy", 0.95, 0.95};
  s.policy.approvals = {{"rollout", {"@me"}, std::chrono::hours{1}}};
  return s;
}

/// A goal's history, written as the agents write it.
class history {
public:
  history() : plan(make_plan("g-1", "spec-digest", small_spec(), 500'000, 2)), digest(plan_digest(plan)) {
    add(event_kind::goal_submitted, {}, "g-1", {{"user", "ana"}, {"spec", {{"name", "churn"}}}, {"digest", "spec-digest"}});
    add(event_kind::plan_made, {}, "g-1", {{"plan", to_json(plan)}, {"digest", digest}});
  }
  event& add(event_kind kind, std::string step, std::string subject, const json& body) {
    event e;
    e.kind = kind;
    e.goal = "g-1";
    e.step = std::move(step);
    e.subject = std::move(subject);
    e.body = body.dump();
    e.time = t0 + std::chrono::seconds{static_cast<std::int64_t>(events.size())};
    e.seq = events.size() + 1;
    events.push_back(e);
    return events.back();
  }
  void started(const std::string& step, int attempt = 1) {
    add(event_kind::step_state, step, step, {{"state", "started"}, {"attempt", attempt}});
  }
  void done(const std::string& step, const json& outputs = json::object()) {
    started(step);
    add(event_kind::step_state, step, step, {{"state", "done"}, {"outputs", outputs}, {"summary", step + " went well"}});
  }
  goal_run fold() const {
    goal_table table;
    for (const auto& e : events)
      table.apply(e);
    return *table.find("g-1");
  }
  std::vector<std::string> starts(wall_time now = t0) const {
    std::vector<std::string> out;
    for (const auto& a : fold().decide(now))
      if (const auto* s = std::get_if<start_step>(&a))
        out.push_back(s->step);
    return out;
  }

  plan_graph plan;
  std::string digest;
  std::vector<event> events;
};

using names = std::vector<std::string>;

} // namespace

TEST(goal_run, starts_what_the_graph_allows_and_runs_independent_steps_together) {
  history h;
  EXPECT_EQ(h.starts(), names{"ingest"});
  h.started("ingest");
  EXPECT_EQ(h.starts(), names{}); // it runs; nothing else may
  h.done("ingest", {{"rows", 7}});
  EXPECT_EQ(h.starts(), (names{"baseline", "explore"})); // neither needs the other
}

TEST(goal_run, hands_the_outputs_of_needed_steps_on) {
  history h;
  h.done("ingest", {{"snapshot", "abc"}});
  const auto actions = h.fold().decide(t0);
  const auto& start = std::get<start_step>(actions.at(0));
  EXPECT_EQ(json::parse(start.inputs_json), (json{{"ingest", {{"snapshot", "abc"}}}}));
}

TEST(goal_run, a_step_found_running_after_a_crash_is_started_again_as_the_next_attempt) {
  history h;
  h.started("ingest", 3);
  auto run = h.fold();
  run.forget_running();
  const auto actions = run.decide(t0);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(std::get<start_step>(actions[0]).attempt, 4u);
}

TEST(goal_run, waits_for_the_retry_time_and_then_starts) {
  history h;
  h.started("ingest");
  h.add(event_kind::step_state, "ingest", "ingest",
        {{"state", "retrying"}, {"error", "timed_out"}, {"retry_at_ns", (t0 + std::chrono::seconds{30}).ns}});
  const auto early = h.fold().decide(t0);
  ASSERT_EQ(early.size(), 1u);
  EXPECT_EQ(std::get<wake_at>(early[0]).when, t0 + std::chrono::seconds{30});
  EXPECT_EQ(h.starts(t0 + std::chrono::seconds{31}), names{"ingest"});
}

TEST(goal_run, a_date_that_is_set_back_makes_no_retry_wait_longer) {
  history h;
  h.started("ingest");
  h.add(event_kind::step_state, "ingest", "ingest",
        {{"state", "retrying"}, {"error", "timed_out"}, {"retry_at_ns", (t0 + std::chrono::seconds{30}).ns}, {"retry_after_ns", 30'000'000'000}});
  EXPECT_TRUE(h.starts(t0 + std::chrono::seconds{1}).empty());
  EXPECT_EQ(h.starts(t0 + -std::chrono::minutes{10}), names{"ingest"}) << "ten minutes and a half are not what was meant";
}

TEST(goal_run, a_failed_step_fails_the_goal_and_submitting_again_goes_on_from_there) {
  history h;
  h.done("ingest");
  h.started("explore");
  h.add(event_kind::step_state, "explore", "explore", {{"state", "failed"}, {"error", "disk_full"}, {"what", "no room"}});
  const auto actions = h.fold().decide(t0);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(std::get<finish_goal>(actions[0]).phase, goal_phase::failed);
  h.add(event_kind::goal_state, {}, "g-1", {{"state", "failed"}, {"reason", "no room"}});
  EXPECT_TRUE(h.fold().decide(t0).empty());
  h.add(event_kind::goal_state, {}, "g-1", {{"state", "running"}, {"again", true}});
  EXPECT_EQ(h.starts(), (names{"baseline", "explore"})); // ingest is not done a second time
}

class goal_run_before_rollout : public ::testing::Test {
protected:
  void SetUp() override {
    for (const auto* step : {"ingest", "baseline", "explore", "search", "train", "evaluate", "release"})
      h.done(step);
    id = approval_id(h.digest, "rollout");
  }
  void ask() {
    h.add(event_kind::approval_requested, "rollout", id,
          {{"action", "rollout"}, {"digest", h.digest}, {"requester", "ana"}, {"by", {"@me"}}, {"valid_ns", 3'600'000'000'000}});
  }
  wall_time grant(const std::string& digest) {
    return h.add(event_kind::approval_granted, "rollout", id, {{"by", "ana"}, {"digest", digest}}).time;
  }
  history h;
  std::string id;
};

TEST_F(goal_run_before_rollout, asks_a_person_once_and_does_nothing_until_answered) {
  const auto actions = h.fold().decide(t0);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(std::get<ask_person>(actions[0]).action, "rollout");
  ask();
  EXPECT_TRUE(h.fold().decide(t0).empty());
}

TEST_F(goal_run_before_rollout, starts_once_granted_and_marks_that_it_uses_the_approval) {
  ask();
  const auto at = grant(h.digest);
  const auto actions = h.fold().decide(at);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_TRUE(std::get<start_step>(actions[0]).uses_approval);
}

TEST_F(goal_run_before_rollout, an_expired_or_denied_approval_ends_the_goal_without_an_effect) {
  ask();
  const auto at = grant(h.digest);
  const auto late = h.fold().decide(at + std::chrono::hours{2});
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(std::get<finish_goal>(late[0]).phase, goal_phase::failed);
}

TEST_F(goal_run_before_rollout, an_approval_of_another_plan_or_already_used_elsewhere_is_worth_nothing) {
  approval_table table;
  ask();
  grant(h.digest);
  for (const auto& e : h.events)
    table.apply(e);
  EXPECT_TRUE(table.check(id, h.digest, "rollout/g-1", t0).ok());
  EXPECT_EQ(table.check(id, "another plan", "rollout/g-1", t0).error().code, errc::not_approved);
  auto used = h.add(event_kind::approval_used, "rollout", id, json::object());
  used.key = "rollout/g-1";
  table.apply(used);
  EXPECT_TRUE(table.check(id, h.digest, "rollout/g-1", t0).ok()); // the same effect goes on after a crash
  EXPECT_EQ(table.check(id, h.digest, "rollout/g-2", t0).error().code, errc::not_approved);
}

TEST(approvals, only_those_the_policy_names_may_answer) {
  approval a;
  a.id = "a-1";
  a.requester = "ana";
  a.by = {"*"};
  EXPECT_TRUE(may_answer(a, "ben").ok());
  EXPECT_EQ(may_answer(a, "ana").error().code, errc::not_allowed); // four eyes
  a.by = {"carl"};
  EXPECT_FALSE(may_answer(a, "ben").ok());
  EXPECT_TRUE(may_answer(a, "carl").ok());
  a.by = {"@me"};
  EXPECT_TRUE(may_answer(a, "ana").ok());
  EXPECT_FALSE(may_answer(a, "ben").ok());
}

TEST(approvals, the_first_answer_counts) {
  approval_table table;
  event e;
  e.subject = "a-1";
  e.kind = event_kind::approval_requested;
  e.body = json{{"digest", "d"}, {"valid_ns", 1'000'000'000'000}}.dump();
  e.time = t0;
  table.apply(e);
  e.kind = event_kind::approval_denied;
  e.body = R"({"by":"ben","reason":"no"})";
  table.apply(e);
  e.kind = event_kind::approval_granted;
  table.apply(e);
  EXPECT_EQ(table.check("a-1", "d", "k", t0).error().code, errc::not_approved);
}

TEST(goal_run, is_done_when_every_step_is) {
  history h;
  for (const auto& s : h.plan.steps)
    h.done(s.id);
  const auto actions = h.fold().decide(t0);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(std::get<finish_goal>(actions[0]).phase, goal_phase::done);
}

TEST(plan_graph, binds_approvals_to_the_goal_and_survives_json) {
  const auto plan = make_plan("g-1", "d1", small_spec(), 1000, 2);
  const auto again = plan_from_json(to_json(plan));
  ASSERT_TRUE(again);
  EXPECT_EQ(plan_digest(*again), plan_digest(plan));
  EXPECT_NE(plan_digest(make_plan("g-1", "d2", small_spec(), 1000, 2)), plan_digest(plan));
  EXPECT_EQ(plan_digest(make_plan("g-1", "d1", small_spec(), 999'999, 8)), plan_digest(plan)); // estimates do not bind
  EXPECT_FALSE(plan_from_json(json{{"steps", 3}}));
}

TEST(plan_graph, a_goal_of_the_learner_asks_before_it_begins_if_the_policy_says_so) {
  auto spec = small_spec();
  EXPECT_EQ(make_plan("g", "d", spec, 0, 1, "retrain").steps.front().approval, "");
  spec.policy.approvals.push_back({"retrain", {"ana"}, std::chrono::hours{1}});
  EXPECT_EQ(make_plan("g", "d", spec, 0, 1, "retrain").steps.front().approval, "retrain");
  EXPECT_EQ(make_plan("g", "d", spec, 0, 1).steps.front().approval, "") << "a person who submits has said so already";
}

TEST(plan_graph, every_step_waits_only_for_earlier_ones) {
  const auto plan = make_plan("g-1", "d", small_spec(), 1000, 2);
  std::vector<std::string> seen;
  for (const auto& s : plan.steps) {
    for (const auto& n : s.needs)
      EXPECT_NE(std::find(seen.begin(), seen.end(), n), seen.end()) << s.id << " waits for " << n;
    seen.push_back(s.id);
  }
  EXPECT_GT(plan.seconds(), 0);
}
