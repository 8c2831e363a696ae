// `flywheel chaos` on a real cluster: it strikes, mends, judges; finds what was doctored; and mends when it is itself killed.

#include "tests/process/flywheel_program.hpp"
#include "tests/process/promises.hpp"

#include "cluster/base/json.hpp"
#include "cluster/chaos/population_store.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using nlohmann::json;
using std::chrono::seconds;

namespace {

class rehearsal : public ::testing::Test {
protected:
  void SetUp() override { up(); }
  void TearDown() override {
    for (const int pid : pids_with({w.root.string()})) {
      ::kill(pid, SIGKILL);
      ::kill(pid, SIGCONT);
    }
    EXPECT_TRUE(eventually([&] { return pids_with({w.root.string()}).empty(); }, seconds{20}));
  }
  void up() {
    const auto up = run(w, {"up", "--local", "2", "--slots", "1"});
    ASSERT_EQ(up.exit_code, 0) << up.err;
  }
  std::string faults(const std::string& name, const std::string& head, const std::string& experiments) {
    const auto file = w.root / (name + ".yaml");
    EXPECT_TRUE(publish_file(file, "flywheel_chaos: 1\nname: " + name + "\nsettle: 3m\n" + head + "experiments:\n" + experiments));
    return file.string();
  }
  int pid_of(const std::string& name) const {
    const auto pids = name == "head" ? pids_with({w.root.string(), "--head"}) : pids_with({w.root.string(), "--join", "certs/" + name + " "});
    return pids.size() == 1 ? pids[0] : -1;
  }
  bool stopped(const std::string& name) const {
    const auto p = process_of(pid_of(name));
    return p && p->stopped;
  }

  workshop w;
};

} // namespace

TEST_F(rehearsal, a_short_one_keeps_every_promise_and_lets_the_release_pass_that_was_refused_before) {
  w.small_goal("policy: {release: {require_chaos: [{experiment: quick, max_age: 1h}]}}\n");
  ASSERT_EQ(run(w, {"submit", w.goal.string(), "--approve"}).exit_code, 0);
  program refused{w, {"watch", "small"}};
  EXPECT_EQ(refused.wait(seconds{90}).exit_code, 1);
  EXPECT_THAT(run(w, {"why", "small"}).out, HasSubstr("rehearsal quick was never run here"));
  EXPECT_EQ(w.count(event_kind::model_registered), 0u);

  const auto load = w.root / "load.yaml";
  auto text = *read_file(w.goal, 1u << 16);
  text.resize(text.find("policy:"));
  ASSERT_TRUE(publish_file(load, text));
  const auto file = faults("quick", "duration: 15s\nload: {goal: load.yaml, count: 2, every: 3s}\n",
                           "  - {name: workers, kind: PodChaos, action: container-kill, containerNames: [worker], schedule: '@every 3s', jitter: 1s}\n"
                           "  - {name: node, kind: PodChaos, action: pod-kill, selector: {role: node}, startAfter: 2s}\n"
                           "  - {name: freeze, kind: PodChaos, action: pod-failure, selector: {role: node}, startAfter: 6s, duration: 4s}\n"
                           "  - {name: head, kind: PodChaos, action: pod-kill, selector: {role: head}, startAfter: 8s}\n"
                           "  - {name: agents, kind: PodChaos, action: container-kill, containerNames: [hpo, trainer, conductor], schedule: '@every 4s', startAfter: 1s}\n"
                           "  - {name: clock, kind: TimeChaos, selector: {role: head}, timeOffset: '-10m', startAfter: 11s, duration: 2s}\n"
                           "  - {name: disk, kind: PhysicalMachineChaos, action: disk-fill, size: 8MiB, startAfter: 1s, duration: 2s}\n");
  const auto end = run(w, {"chaos", file, "--seed", "7", "--report", (w.root / "report.json").string()});
  EXPECT_EQ(end.exit_code, 0) << end.out << end.err;
  EXPECT_THAT(end.out, StartsWith("seed 7\n"));
  const auto report = json::parse(*read_file(w.root / "report.json", 8u << 20));
  EXPECT_EQ(report["state"], "kept");
  EXPECT_EQ(report["goals_acknowledged"], 2);
  EXPECT_GE(report["strokes_done"], 6) << end.out;
  for (const auto& v : report["verdicts"])
    EXPECT_EQ(v["verdict"], v["promise"] == "I8" ? "not judged" : "kept") << v;
  EXPECT_EQ(w.count(event_kind::rehearsal), 2u) << "begun and kept";
  EXPECT_FALSE(stopped("node1"));

  ASSERT_EQ(run(w, {"submit", w.goal.string(), "--approve"}).exit_code, 0);
  program allowed{w, {"watch", "small"}};
  const auto watched = allowed.wait(seconds{90});
  EXPECT_EQ(watched.exit_code, 0) << watched.err;
  EXPECT_THAT(run(w, {"why", "small"}).out, HasSubstr("rehearsal quick was passed"));
  EXPECT_EQ(run(w, {"down"}).exit_code, 0);
  EXPECT_TRUE(eventually([&] { return pids_with({w.root.string()}).empty(); }, seconds{20})) << "nobody is left, the keeper neither";
  expect_promises_kept(w);
}

TEST_F(rehearsal, a_doctored_history_is_found_and_takes_the_gate_away) {
  w.small_goal();
  ASSERT_EQ(run(w, {"submit", w.goal.string(), "--approve"}).exit_code, 0);
  program watch{w, {"watch", "small"}};
  ASSERT_EQ(watch.wait(seconds{90}).exit_code, 0);
  ASSERT_EQ(run(w, {"down"}).exit_code, 0);
  ASSERT_TRUE(eventually([&] { return pids_with({w.root.string()}).empty(); }, seconds{20}));
  { // somebody who may write the journal says that a release happened again
    auto log = journal::open(w.state, system_clock());
    ASSERT_TRUE(log) << log.error().to_string();
    for (const auto& e : w.journal())
      if (e.kind == event_kind::effect_done && e.key.starts_with("release/")) {
        event_draft again = e;
        again.epoch = w.journal().back().epoch;
        ASSERT_TRUE((*log)->append(again));
      }
  }
  up();
  const auto file = faults("calm", "duration: 1s\n", "  - {name: burn, kind: StressChaos, workers: 1, duration: 500ms}\n");
  const auto end = run(w, {"chaos", file, "-o", "json"});
  EXPECT_EQ(end.exit_code, 1) << end.err;
  const auto report = json::parse(end.out);
  EXPECT_EQ(report["state"], "broken");
  for (const auto& v : report["verdicts"])
    EXPECT_EQ(v["verdict"] == "broken", v["promise"] == "I3") << v;
  EXPECT_THAT(end.err, StartsWith("seed ")) << "another one each time, said first";
  EXPECT_EQ(w.count(event_kind::rehearsal), 2u);
}

TEST_F(rehearsal, killed_itself_it_leaves_nobody_frozen_and_nobody_dead) {
  const auto file = faults("rough", "duration: 5m\n",
                           "  - {name: freeze, kind: PodChaos, action: pod-failure, selector: {role: node}, duration: 4m}\n"
                           "  - {name: head, kind: PodChaos, action: pod-kill, selector: {role: head}, restartAfter: 4m}\n"
                           "  - {name: disk, kind: PhysicalMachineChaos, action: disk-fill, size: 1MiB, duration: 4m}\n");
  const int head = pid_of("head");
  program p{w, {"chaos", file, "--seed", "1"}};
  ASSERT_TRUE(eventually([&] { return stopped("node1") && !process_of(head); }, seconds{30})) << p.err();
  ASSERT_TRUE(eventually([&] { return p.out().find("disk-fill") != std::string::npos; }, seconds{30})) << p.out();
  p.signal(SIGKILL);
  p.wait();
  EXPECT_TRUE(eventually([&] { return !stopped("node1") && pid_of("head") > 0 && pid_of("head") != head; }, seconds{30}));
  EXPECT_TRUE(eventually([&] { return run(w, {"nodes"}).exit_code == 0; }, seconds{30})) << "at its address, with its state";
  for (const auto& f : std::filesystem::directory_iterator{w.state / "log"})
    EXPECT_THAT(f.path().string(), Not(HasSubstr("ballast")));
}

TEST_F(rehearsal, ctrl_c_mends_and_says_that_it_was_stopped) {
  const auto file = faults("long", "duration: 5m\n", "  - {name: freeze, kind: PodChaos, action: pod-failure, selector: {role: node}, duration: 4m}\n");
  program p{w, {"chaos", file}};
  ASSERT_TRUE(eventually([&] { return stopped("node1"); }, seconds{30})) << p.err();
  p.signal(SIGINT);
  const auto end = p.wait(seconds{60});
  EXPECT_EQ(end.exit_code, 130) << end.out << end.err;
  EXPECT_FALSE(stopped("node1"));
  const auto events = w.journal();
  ASSERT_FALSE(events.empty());
  bool told = false;
  for (const auto& e : events)
    told = told || (e.kind == event_kind::rehearsal && json::parse(e.body).value("state", "") == "stopped");
  EXPECT_TRUE(told);
}

TEST_F(rehearsal, what_cannot_be_done_is_refused_before_anything_starts) {
  const auto wrong = faults("wrong", "", "  - {name: a, kind: PodChaos, action: pod-kil}\n");
  auto end = run(w, {"chaos", wrong});
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err, HasSubstr("wrong.yaml:5:39: error: 'pod-kil' is no action of PodChaos"));
  const auto cannot = faults("cannot", "",
                             "  - {name: kill, kind: PodChaos, action: pod-kill, selector: {role: node}}\n"
                             "  - {name: link, kind: NetworkChaos, action: partition, selector: {role: node}, duration: 1s}\n"
                             "  - {name: io, kind: IOChaos, action: fault}\n"
                             "  - {name: who, kind: PodChaos, action: pod-kill, selector: {nodes: [node9]}}\n");
  end = run(w, {"chaos", cannot});
  EXPECT_EQ(end.exit_code, 2);
  for (const auto* says : {"link: ", "io: wrong and slow", "who: the cluster has no node 'node9'", "nothing was started"})
    EXPECT_THAT(end.err, HasSubstr(says));
  EXPECT_EQ(w.count(event_kind::rehearsal), 0u);
  const auto fine = faults("fine", "duration: 20s\n", "  - {name: kill, kind: PodChaos, action: pod-kill, schedule: '@every 5s'}\n");
  const auto first = run(w, {"chaos", fine, "--seed", "3", "--dry-run"}), again = run(w, {"chaos", fine, "--seed", "3", "--dry-run"});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out, again.out);
  EXPECT_EQ(w.count(event_kind::rehearsal), 0u);
  const auto nobody = faults("nobody", "duration: 1s\n", "  - {name: ranks, kind: PodChaos, action: container-kill, containerNames: [rank]}\n");
  EXPECT_EQ(run(w, {"chaos", nobody}).exit_code, 1) << "who strikes nobody has rehearsed nothing";
  for (const auto& e : w.journal())
    EXPECT_FALSE(e.kind == event_kind::rehearsal && json::parse(e.body).value("state", "") == "kept");
  EXPECT_EQ(run(w, {"down"}).exit_code, 0);
  EXPECT_EQ(run(w, {"chaos", fine}).exit_code, 5) << "nobody to strike";
}
