// kill -9 of anything at any moment, then the same command: the same goal, no effect twice.

#include "tests/process/flywheel_program.hpp"

#include "checkpoints/registry.hpp"
#include "cluster/base/random.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"

#include <nlohmann/json.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <thread>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using nlohmann::json;

namespace {

void expect_one_goal_done_once(const workshop& w) {
  const auto verdict = verify_journal(w.state);
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(verdict->intact) << verdict->reason;
  EXPECT_EQ(w.count(event_kind::goal_submitted), 1u);
  std::map<std::string, int> done, ends;
  for (const auto& e : w.journal()) {
    if (e.kind == event_kind::effect_done) {
      EXPECT_EQ(++done[e.key], 1) << e.key << " was done twice (I3)";
    }
    if (e.kind == event_kind::trial_state) {
      const auto state = json::parse(e.body).value("state", "");
      if (state == "completed" || state == "pruned" || state == "failed") {
        EXPECT_EQ(++ends[e.subject], 1) << e.subject << " was counted twice (I15)";
      }
    }
  }
  EXPECT_EQ(done.size(), 2u) << "release and rollout";
  const auto registry = model_registry::open(state_layout{w.state}.models());
  ASSERT_TRUE(registry);
  const auto versions = registry->list();
  ASSERT_TRUE(versions);
  EXPECT_EQ(versions->size(), 1u);
}

/// Accuracy of the evaluated model, as text.
std::string evaluated(const workshop& w) {
  for (const auto& e : w.journal()) {
    const auto body = json::parse(e.body);
    if (e.kind == event_kind::step_state && e.step == "evaluate" && body.value("state", "") == "done")
      return body["outputs"]["value"].dump();
  }
  return "none";
}

} // namespace

TEST(recovery, kill_9_of_the_program_at_random_moments_then_the_same_command) {
  workshop calm, rough;
  calm.small_goal();
  rough.small_goal();
  ASSERT_EQ(run(calm, {"run", calm.goal.string(), "--approve"}).exit_code, 0);
  const auto steady = calm.journal().size();

  random_source dice{20261121};
  int kills = 0;
  for (; kills < 12; ++kills) {
    program p{rough, {"run", rough.goal.string(), "--approve"}};
    // Killed when the journal has grown by a random number of events: every phase gets its turn, on any machine.
    const auto until = rough.journal().size() + 1 + dice.below(steady / 8 + 1);
    if (!eventually([&] { return rough.journal().size() >= until || !p.running(); }))
      FAIL() << "no progress: " << p.err();
    if (!p.running())
      break;
    p.signal(SIGKILL);
    EXPECT_EQ(p.wait().exit_code, -SIGKILL);
  }
  const auto last = run(rough, {"run", rough.goal.string(), "--approve"});
  EXPECT_EQ(last.exit_code, 0) << last.err;
  EXPECT_GT(kills, 3);
  expect_one_goal_done_once(rough);
  EXPECT_EQ(evaluated(rough), evaluated(calm)) << "the way there does not change the result (I13)";
}

TEST(recovery, a_killed_or_frozen_worker_is_replaced_and_the_goal_goes_on) {
  workshop w;
  w.small_goal();
  program p{w, {"run", w.goal.string(), "--approve"}};
  for (const auto& [signal, step] : {std::pair{SIGKILL, "explore"}, std::pair{SIGSTOP, "search"}}) {
    // One worker each of two trials: what ends two workers of one trial is taken to be the trial's fault.
    ASSERT_TRUE(eventually([&] {
      const auto events = w.journal();
      return std::any_of(events.begin(), events.end(), [&](const event& e) {
        return e.kind == event_kind::trial_state && e.step == step && json::parse(e.body).value("state", "") == "running";
      });
    })) << p.err();
    std::vector<int> workers;
    ASSERT_TRUE(eventually([&] { return !(workers = children_of(p.pid(), "_worker")).empty(); })) << p.err();
    ::kill(workers.front(), signal);
    const int victim = workers.front();
    ASSERT_TRUE(eventually([&] { // killed from outside, also the frozen one
      const auto now = children_of(p.pid(), "_worker");
      return std::find(now.begin(), now.end(), victim) == now.end();
    })) << p.err();
  }
  EXPECT_EQ(p.wait().exit_code, 0) << p.err();
  EXPECT_THAT(p.err(), HasSubstr("in another worker"));
  expect_one_goal_done_once(w);
}

TEST(recovery, no_worker_outlives_a_killed_program) {
  workshop w;
  w.small_goal();
  std::vector<int> workers;
  {
    program p{w, {"run", w.goal.string(), "--approve"}};
    ASSERT_TRUE(eventually([&] { return !(workers = children_of(p.pid(), "_worker")).empty(); })) << p.err();
    p.signal(SIGKILL);
    p.wait();
  }
  for (const int worker : workers)
    EXPECT_TRUE(eventually([&] { return ::kill(worker, 0) != 0 || children_of(1, "_worker").empty(); },
                           std::chrono::seconds{15})) << "worker " << worker << " is an orphan (I11)";
}

TEST(recovery, ctrl_c_stops_cleanly_and_the_same_command_continues) {
  workshop w;
  w.small_goal();
  {
    program p{w, {"run", w.goal.string(), "--approve"}};
    ASSERT_TRUE(eventually([&] { return w.count(event_kind::trial_state) > 2; })) << p.err();
    p.signal(SIGINT);
    const auto end = p.wait(std::chrono::seconds{30});
    EXPECT_EQ(end.exit_code, 130) << end.err;
    EXPECT_THAT(end.err, HasSubstr("the same command continues"));
  }
  EXPECT_EQ(run(w, {"run", w.goal.string(), "--approve"}).exit_code, 0);
  expect_one_goal_done_once(w);
}

TEST(recovery, a_damaged_journal_is_refused_with_the_first_bad_entry_and_nothing_is_lost) {
  workshop w;
  w.small_goal();
  ASSERT_EQ(run(w, {"run", w.goal.string(), "--approve"}).exit_code, 0);
  const auto file = w.state / "journal.db";
  const auto size = std::filesystem::file_size(file);
  std::string bytes(size, '\0');
  std::fstream f{file, std::ios::in | std::ios::out | std::ios::binary};
  f.read(bytes.data(), static_cast<std::streamsize>(size));
  const auto at = bytes.find("small submitted"), other = bytes.find("submitted goal small");
  const auto where = other != std::string::npos ? other : at;
  ASSERT_NE(where, std::string::npos);
  f.seekp(static_cast<std::streamoff>(where));
  f.put('S');
  f.close();
  const auto verify = run(w, {"journal", "verify"});
  EXPECT_EQ(verify.exit_code, 1);
  EXPECT_THAT(verify.out, HasSubstr("entry 1"));
  const auto end = run(w, {"run", w.goal.string(), "--approve"});
  EXPECT_NE(end.exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size(file), size) << "a damaged journal is left as it is";
}

TEST(recovery, a_damaged_model_is_never_served) {
  workshop w;
  w.small_goal();
  ASSERT_EQ(run(w, {"run", w.goal.string(), "--approve"}).exit_code, 0);
  const auto folder = state_layout{w.state}.models() / "small" / "v1";
  std::filesystem::path victim;
  for (const auto& e : std::filesystem::directory_iterator{folder})
    if (e.path().extension() != ".json" && e.is_regular_file())
      victim = e.path();
  ASSERT_FALSE(victim.empty());
  std::filesystem::permissions(victim, std::filesystem::perms::owner_all);
  std::fstream f{victim, std::ios::in | std::ios::out | std::ios::binary};
  f.seekg(200);
  const char old = static_cast<char>(f.get());
  f.seekp(200);
  f.put(static_cast<char>(old ^ 1));
  f.close();
  const auto end = run(w, {"predict", "small", "total_day_minutes=1"});
  EXPECT_EQ(end.exit_code, 1) << end.out;
  EXPECT_THAT(end.err, HasSubstr("checksum"));
}
