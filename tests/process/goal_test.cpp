// A goal from file to served model, as a person runs it.

#include "cluster/base/json.hpp"
#include "tests/process/flywheel_program.hpp"

#include "checkpoints/registry.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"
#include "deploy/http_client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using nlohmann::json;

namespace {

/// What must hold of every finished goal, however rough the way was.
void expect_kept_promises(const workshop& w) {
  const auto verdict = verify_journal(w.state);
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(verdict->intact) << verdict->reason;
  std::map<std::string, int> done, intended_before;
  std::map<std::string, std::string> trials;
  std::map<std::string, int> trial_ends;
  for (const auto& e : w.journal()) {
    if (e.kind == event_kind::effect_intended)
      ++intended_before[e.key];
    if (e.kind == event_kind::effect_done) {
      EXPECT_GE(intended_before[e.key], 1) << e.key << " was done without an intent (I4)";
      EXPECT_EQ(++done[e.key], 1) << e.key << " was done twice (I3)";
    }
    if (e.kind == event_kind::trial_state) {
      const auto state = json::parse(e.body).value("state", "");
      if (state == "completed" || state == "pruned" || state == "failed") {
        EXPECT_EQ(++trial_ends[e.subject], 1) << e.subject << " ended twice (I15)";
      }
    }
  }
  const auto registry = model_registry::open(state_layout{w.state}.models());
  ASSERT_TRUE(registry);
  const auto versions = registry->list();
  ASSERT_TRUE(versions);
  EXPECT_EQ(versions->size(), 1u) << "one goal, one version";
  for (const auto& v : *versions)
    EXPECT_TRUE(registry->verify(v).ok());
}

std::string url_in(const std::string& text) {
  const auto at = text.find("http://127.0.0.1:");
  return at == std::string::npos ? "" : text.substr(at, text.find_first_of(" \n", at) - at);
}

} // namespace

TEST(goal, runs_from_file_to_champion_and_the_same_command_again_only_reports) {
  workshop w;
  w.small_goal();
  const auto first = run(w, {"run", w.goal.string(), "--approve"});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("small/v1"));
  EXPECT_THAT(first.err, HasSubstr("because")); // decisions with reasons
  const auto events = w.journal().size();
  const auto second = run(w, {"run", w.goal.string(), "--approve"});
  EXPECT_EQ(second.exit_code, 0);
  EXPECT_THAT(second.err, HasSubstr("done already"));
  EXPECT_EQ(w.journal().size(), events) << "a finished goal does nothing";
  expect_kept_promises(w);
  EXPECT_EQ(run(w, {"journal", "verify"}).exit_code, 0);
  EXPECT_THAT(run(w, {"why", "small"}).out, HasSubstr("Because"));
  EXPECT_THAT(run(w, {"goals", "-o", "json"}).out, HasSubstr("\"state\": \"done\""));
  EXPECT_THAT(run(w, {"predict", "small", "total_day_minutes=320"}).out, HasSubstr("prediction"));
  EXPECT_EQ(run(w, {"predict", "small", "total_dya_minutes=320"}).exit_code, 2);
  EXPECT_EQ(run(w, {"why", "nothing-of-that-name"}).exit_code, 3);
}

TEST(goal, serves_after_the_report_until_stopped_and_serves_again) {
  workshop w;
  w.small_goal();
  const auto detached = run(w, {"run", w.goal.string(), "--approve", "--serve", "--detach"});
  EXPECT_EQ(detached.exit_code, 0) << detached.err;
  const auto url = url_in(detached.out);
  auto client = http_client::to(url);
  ASSERT_TRUE(client) << detached.out;
  const auto ready = client->get("/v2/health/ready");
  ASSERT_TRUE(ready);
  EXPECT_EQ(ready->code, 200);
  EXPECT_EQ(run(w, {"serve", "--stop"}).exit_code, 0);
  EXPECT_FALSE(client->get("/v2/health/ready"));
  program again{w, {"serve"}};
  ASSERT_TRUE(eventually([&] { return run(w, {"predict", "small", "total_day_minutes=1"}).err.empty(); }));
  again.signal(SIGTERM);
  EXPECT_EQ(again.wait().exit_code, 0);
}

TEST(goal, waits_for_a_person_and_goes_on_when_another_terminal_approves) {
  workshop w;
  w.small_goal();
  program p{w, {"run", w.goal.string()}};
  ASSERT_TRUE(eventually([&] { return w.count(event_kind::approval_requested) == 1; })) << p.err();
  std::string id;
  for (const auto& e : w.journal())
    if (e.kind == event_kind::approval_requested)
      id = e.subject;
  EXPECT_TRUE(eventually([&] { return p.err().find("flywheel approve " + id) != std::string::npos; })) << p.err();
  EXPECT_EQ(w.count(event_kind::alias_moved), 0u) << "nothing reaches production before the word is given (I7)";
  EXPECT_EQ(run(w, {"approve", id, "--by", "mallory"}).exit_code, 4);
  EXPECT_EQ(run(w, {"approve", "a-no-such"}).exit_code, 3);
  EXPECT_EQ(run(w, {"approve", id}).exit_code, 0);
  EXPECT_EQ(p.wait().exit_code, 0);
  EXPECT_EQ(w.count(event_kind::approval_used), 1u);
  expect_kept_promises(w);
}

TEST(goal, a_denied_rollout_ends_denied_and_serves_nothing) {
  workshop w;
  w.small_goal();
  program p{w, {"run", w.goal.string()}};
  ASSERT_TRUE(eventually([&] { return w.count(event_kind::approval_requested) == 1; })) << p.err();
  std::string id;
  for (const auto& e : w.journal())
    if (e.kind == event_kind::approval_requested)
      id = e.subject;
  EXPECT_EQ(run(w, {"deny", id, "--reason", "not before the audit"}).exit_code, 0);
  EXPECT_EQ(p.wait().exit_code, 4);
  EXPECT_EQ(w.count(event_kind::alias_moved), 0u);
  EXPECT_THAT(run(w, {"why", "small"}).out, HasSubstr("not before the audit"));
}

TEST(goal, a_model_below_its_threshold_is_not_released) {
  workshop w;
  w.small_goal({}, "0.999");
  const auto end = run(w, {"run", w.goal.string(), "--approve"});
  EXPECT_EQ(end.exit_code, 1);
  EXPECT_THAT(end.out, HasSubstr("failed"));
  EXPECT_EQ(w.count(event_kind::model_registered), 0u);
}

TEST(goal, a_second_run_on_the_same_state_hands_its_goal_to_the_first) {
  workshop w;
  w.small_goal();
  program first{w, {"run", w.goal.string(), "--approve", "--serve"}};
  ASSERT_TRUE(eventually([&] { return w.count(event_kind::goal_submitted) == 1; }));
  const auto second = run(w, {"run", w.goal.string(), "--approve"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_THAT(second.err, HasSubstr("owns"));
  EXPECT_EQ(w.count(event_kind::goal_submitted), 1u);
  first.signal(SIGINT);
  EXPECT_EQ(first.wait().exit_code, 0);
  expect_kept_promises(w);
}

TEST(goal, a_taken_port_is_named_and_the_goal_goes_on_when_it_is_free) {
  workshop w;
  w.small_goal();
  const auto blocker = run(w, {"run", w.goal.string(), "--approve", "--serve", "--detach"});
  const auto url = url_in(blocker.out);
  const auto port = url.substr(url.rfind(':') + 1);
  workshop other;
  other.small_goal("serve:\n  port: " + port + "\n");
  program p{other, {"run", other.goal.string(), "--approve"}};
  ASSERT_TRUE(eventually([&] { return p.err().find("port is taken") != std::string::npos; })) << p.err();
  EXPECT_EQ(run(w, {"serve", "--stop"}).exit_code, 0);
  EXPECT_EQ(p.wait().exit_code, 0); // it had been trying again
  expect_kept_promises(other);
}

TEST(goal, bad_input_exits_2_and_submits_nothing) {
  workshop w;
  w.small_goal("metrik: accuracy\n");
  const auto end = run(w, {"run", w.goal.string(), "--approve"});
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err, HasSubstr("did you mean 'metric'?"));
  EXPECT_THAT(end.err, HasSubstr("goal.yaml:12:1: error"));
  EXPECT_TRUE(w.journal().empty());
  EXPECT_EQ(run(w, {"rnu", w.goal.string()}).exit_code, 2);
  EXPECT_EQ(run(w, {"run", (w.root / "absent.yaml").string()}).exit_code, 3);
}
