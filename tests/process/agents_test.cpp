// Agents that die in the middle of a goal are started again and continue from the journal.

#include "cluster/base/json.hpp"
#include "tests/process/flywheel_program.hpp"

#include "actors/node/node.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "cluster/journal/journal.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <map>

using namespace flywheel;
using namespace flywheel::testing;
using nlohmann::json;

namespace {

class agents : public ::testing::Test {
protected:
  void SetUp() override {
    w.small_goal();
    node_options o;
    o.state = w.state;
    o.worker_command = {FLYWHEEL_PROGRAM, "_worker"};
    o.code_version = "test";
    auto started = node::start(o, system_clock());
    ASSERT_TRUE(started) << started.error().to_string();
    n = std::move(*started);
    const auto parsed = parse_goal_file(w.goal);
    ASSERT_TRUE(parsed && parsed->ok());
    spec = to_json(parsed->spec).dump();
  }

  std::string state_of_goal() const {
    std::string state;
    for (const auto& e : w.journal())
      if (e.kind == event_kind::goal_state)
        state = json::parse(e.body).value("state", "");
    return state;
  }
  bool wait_for(const std::function<bool(const event&)>& seen) {
    std::uint64_t at = 0;
    for (int i = 0; i < 1200; ++i) {
      for (const auto& e : w.journal())
        if (seen(e))
          return true;
      at = n->wait_after(at, std::chrono::milliseconds{100});
    }
    const auto events = w.journal();
    ADD_FAILURE() << "not seen; the journal ends with: " << (events.empty() ? "nothing" : events.back().text);
    return false;
  }

  workshop w;
  std::unique_ptr<node> n;
  std::string spec;
};

bool starts(const event& e, const std::string& step) {
  return e.kind == event_kind::step_state && e.step == step && json::parse(e.body).value("state", "") == "started";
}

} // namespace

TEST_F(agents, each_one_may_die_and_the_goal_is_done_all_the_same) {
  const auto ack = n->submit({"g-1", "ana", spec, true});
  ASSERT_FALSE(ack.problem) << ack.problem.to_error().to_string();
  ASSERT_TRUE(wait_for([](const event& e) { return starts(e, "explore"); }));
  for (const auto* name : {"architect", "hpo", "conductor", "learner", "monitor", "data_steward"})
    EXPECT_TRUE(n->crash_agent(name).ok()) << name;
  ASSERT_TRUE(wait_for([](const event& e) { return starts(e, "search"); }));
  for (const auto* name : {"trainer", "evaluator", "deployer"})
    EXPECT_TRUE(n->crash_agent(name).ok()) << name;
  EXPECT_TRUE(wait_for([&](const event&) { return state_of_goal() == "done" || state_of_goal() == "failed"; }));
  EXPECT_EQ(state_of_goal(), "done");
  std::map<std::string, int> restarted;
  for (const auto& e : w.journal())
    if (e.kind == event_kind::agent_state)
      ++restarted[e.subject];
  EXPECT_EQ(restarted.size(), 9u);
}

TEST_F(agents, the_same_id_with_another_body_is_a_conflict_and_with_the_same_body_the_same_goal) {
  ASSERT_FALSE(n->submit({"g-1", "ana", spec, false}).problem);
  const auto again = n->submit({"g-1", "ana", spec, false});
  EXPECT_FALSE(again.problem);
  EXPECT_TRUE(again.existed);
  auto other = json::parse(spec);
  other["metric"]["threshold"] = 0.7;
  const auto refused = n->submit({"g-1", "ana", other.dump(), false});
  EXPECT_EQ(refused.problem.to_error().code, errc::already_exists);
  EXPECT_EQ(w.count(event_kind::goal_submitted), 1u);
  EXPECT_EQ(n->submit({"../escape", "ana", spec, false}).problem.to_error().code, errc::invalid_argument);
  EXPECT_TRUE(static_cast<bool>(n->submit({"g-2", "ana", "{\"name\": 7}", false}).problem));
}

TEST_F(agents, a_cancelled_goal_stops_its_workers_and_stays_cancelled) {
  ASSERT_FALSE(n->submit({"g-1", "ana", spec, true}).problem);
  ASSERT_TRUE(wait_for([](const event& e) { return e.kind == event_kind::trial_state; }));
  EXPECT_FALSE(n->cancel({"g-1", "ana", "changed my mind"}).problem);
  EXPECT_EQ(state_of_goal(), "cancelled");
  EXPECT_TRUE(static_cast<bool>(n->cancel({"g-1", "ana", ""}).problem)) << "once is enough";
  EXPECT_TRUE(static_cast<bool>(n->cancel({"g-9", "ana", ""}).problem));
  n->stop();
  EXPECT_TRUE(children_of(::getpid(), "_worker").empty());
}

TEST_F(agents, an_older_owner_of_the_state_directory_is_fenced_out) {
  const auto second = node::start({w.state, {FLYWHEEL_PROGRAM, "_worker"}, 1, "test"}, system_clock());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, errc::state_locked);
}
