// `flywheel launch --on-cluster`: gangs over the nodes of a cluster on this machine; ranks, nodes and the head killed and frozen.

#include "tests/process/flywheel_program.hpp"

#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;
using std::chrono::seconds;

namespace {

/// What rank 0 of gang-train printed: its exact loss and its weights.
std::string outcome_of(const std::string& text) {
  std::string found;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    for (const char* key : {"loss_exact", "weights"})
      if (const auto at = line.find(key); at != std::string::npos)
        found += line.substr(at) + "\n";
  return found;
}

class gang_cluster {
public:
  explicit gang_cluster(int nodes, int slots = 2) {
    const auto up = run(w, {"up", "--local", std::to_string(nodes), "--slots", std::to_string(slots)});
    EXPECT_EQ(up.exit_code, 0) << up.err;
  }
  ~gang_cluster() {
    for (const int signal : {SIGKILL, SIGCONT})
      for (const int pid : pids_with({w.root.string()}))
        ::kill(pid, signal);
    EXPECT_TRUE(eventually([&] { return pids_with({w.root.string()}).empty(); }, seconds{30}));
  }
  int pid_of(const std::string& name) const {
    const auto pids = name == "head" ? pids_with({w.root.string(), "--head"}) : pids_with({w.root.string(), "--join", "certs/" + name + " "});
    EXPECT_EQ(pids.size(), 1U) << name;
    return pids.empty() ? -1 : pids[0];
  }
  static std::vector<std::string> training(int ranks, const std::string& steps, const std::string& name, std::vector<std::string> options, const std::string& every = "5") {
    std::vector<std::string> all{"launch", "--on-cluster", "-o", "json", "--ranks", std::to_string(ranks), "--name", name};
    all.insert(all.end(), options.begin(), options.end());
    for (const std::string& word : {std::string("--"), std::string(FLYWHEEL_PROGRAM), std::string("worker"), std::string("gang-train"), std::string("--steps"), steps,
                                    std::string("--every"), every, std::string("--sequences"), std::string("12"), std::string("--width"), std::string("64")})
      all.push_back(word);
    return all;
  }
  /// The result on one node, or what it must be.
  std::string undisturbed(int ranks, const std::string& steps) const {
    auto words = training(ranks, steps, "x", {});
    std::erase(words, "--on-cluster");
    const auto at = std::find(words.begin(), words.end(), "--name");
    words.erase(at, at + 2);
    const auto end = run(w, words);
    EXPECT_EQ(end.exit_code, 0) << end.err;
    const auto found = outcome_of(end.err);
    EXPECT_THAT(found, HasSubstr("weights"));
    return found;
  }
  std::vector<json> events(const std::string& gang, const std::string& state) const {
    std::vector<json> all;
    for (const auto& e : w.journal())
      if (e.kind == event_kind::gang_state && e.subject == gang)
        if (auto body = json::parse(e.body); body.value("state", "") == state)
          all.push_back(std::move(body));
    return all;
  }
  /// Ranks of this cluster's gangs, found by their environment: "RANK=1", "FLYWHEEL_ATTEMPT=2", ...
  std::vector<int> ranks(const std::vector<std::string>& entries = {}) const {
    std::vector<int> found;
    for (const int pid : pids_with({"gang-train"})) {
      std::ifstream in{"/proc/" + std::to_string(pid) + "/environ", std::ios::binary};
      const std::string all = '\0' + std::string{std::istreambuf_iterator<char>{in}, {}};
      if (all.find("FLYWHEEL_RENDEZVOUS=" + w.root.string()) != std::string::npos &&
          std::ranges::all_of(entries, [&](const auto& e) { return all.find('\0' + e + '\0') != std::string::npos; }))
        found.push_back(pid);
    }
    return found;
  }
  int rank_pid(int rank, std::uint64_t attempt) const {
    const auto found = ranks({"RANK=" + std::to_string(rank), "FLYWHEEL_ATTEMPT=" + std::to_string(attempt)});
    return found.empty() ? 0 : found[0];
  }
  /// Once the attempt has published a checkpoint: far enough in the middle.
  bool has_checkpoint(std::uint64_t attempt) const {
    std::error_code failed;
    const auto suffix = "-attempt-00000" + std::to_string(attempt);
    for (const auto& e : std::filesystem::directory_iterator{checkpoints, failed})
      if (e.path().filename().string().ends_with(suffix) && std::filesystem::exists(e.path() / "manifest.json", failed))
        return true;
    return false;
  }
  std::string why(const std::string& gang) const { return run(w, {"why", gang}).out; }

  workshop w;
  std::filesystem::path checkpoints = w.root / "checkpoints";
};

} // namespace

TEST(gang_cluster, a_gang_over_three_nodes_ends_with_the_same_bits_as_on_one_whoever_of_it_is_killed_or_frozen) {
  gang_cluster c{3, 1};
  const auto expected = c.undisturbed(3, "150");
  const auto training = [&](const std::string& name, const std::string& folder) {
    c.checkpoints = c.w.root / folder;
    return c.training(3, "150", name, {"--checkpoint", c.checkpoints.string()});
  };
  const auto plain = run(c.w, training("plain", "c1"));
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(outcome_of(plain.err), expected) << plain.err;
  ASSERT_EQ(c.events("plain", "leased").size(), 1U);
  EXPECT_EQ(c.events("plain", "leased")[0]["slots"].size(), 3U);

  for (const int signal : {SIGKILL, SIGSTOP}) {
    const std::string name = signal == SIGKILL ? "killed" : "frozen";
    program p{c.w, training(name, name)};
    ASSERT_TRUE(eventually([&] { return c.has_checkpoint(1); }, seconds{60})) << p.err();
    const int victim = c.rank_pid(1, 1);
    ASSERT_GT(victim, 0);
    ::kill(victim, signal);
    const auto end = p.wait(seconds{90});
    ASSERT_EQ(end.exit_code, 0) << end.err;
    EXPECT_EQ(outcome_of(end.err), expected) << name;
    const auto failed = c.events(name, "failed");
    ASSERT_EQ(failed.size(), 1U) << end.err;
    EXPECT_EQ(failed[0]["cause"]["end"], name);
    EXPECT_EQ(failed[0]["cause"]["rank"], 1);
    EXPECT_THAT(failed[0]["cause"]["sentence"].get<std::string>(), HasSubstr("rank 1 ("));
    const auto why = c.why(name);
    EXPECT_THAT(why, HasSubstr("Because rank 1 ("));
    EXPECT_THAT(why, HasSubstr("restart 1 of 3"));
  }
  EXPECT_TRUE(c.ranks().empty());
  EXPECT_TRUE(std::filesystem::exists(c.w.state / "gangs" / "plain" / "rank-2.log"));
  for (const auto& e : std::filesystem::directory_iterator{c.w.state / "run"})
    EXPECT_FALSE(e.path().filename().string().starts_with("g-")) << e.path() << ": a folder to meet in is left behind";
}

TEST(gang_cluster, a_node_that_is_killed_or_frozen_is_replaced_by_a_spare_one) {
  gang_cluster c{4, 1};
  const auto expected = c.undisturbed(3, "400"); // longer than the lease of a frozen node, whose ranks work on until it is over
  for (const int signal : {SIGSTOP, SIGKILL}) {
    const std::string name = signal == SIGKILL ? "killed" : "frozen";
    c.checkpoints = c.w.root / name;
    program p{c.w, c.training(3, "400", name, {"--checkpoint", c.checkpoints.string()})};
    ASSERT_TRUE(eventually([&] { return c.has_checkpoint(1); }, seconds{60})) << p.err();
    const auto slots = c.events(name, "leased")[0]["slots"];
    std::string node; // one of its nodes that is not the head
    for (const auto& s : slots)
      if (!s.get<std::string>().starts_with("head"))
        node = s.get<std::string>().substr(0, s.get<std::string>().find('/'));
    const int pid = c.pid_of(node);
    ::kill(pid, signal);
    const auto end = p.wait(seconds{90});
    ::kill(pid, SIGCONT);
    ASSERT_EQ(end.exit_code, 0) << end.err;
    EXPECT_EQ(outcome_of(end.err), expected) << name;
    const auto failed = c.events(name, "failed");
    ASSERT_EQ(failed.size(), 1U) << end.err;
    EXPECT_THAT(failed[0]["cause"]["sentence"].get<std::string>(), HasSubstr(node));
    EXPECT_THAT(c.events(name, "leased").back()["slots"].dump(), Not(HasSubstr(node)));
  }
}

TEST(gang_cluster, a_head_that_is_killed_and_started_again_goes_on_with_its_gangs) {
  gang_cluster c{3, 1};
  const auto expected = c.undisturbed(3, "150");
  program p{c.w, c.training(3, "150", "g", {"--checkpoint", c.checkpoints.string()})};
  ASSERT_TRUE(eventually([&] { return c.has_checkpoint(1); }, seconds{60})) << p.err();
  const auto file = read_file(c.w.state / "run" / "cluster.json", 4096);
  ASSERT_TRUE(file);
  const auto address = json::parse(*file).value("address", "");
  const int old = c.rank_pid(0, 1);
  ::kill(c.pid_of("head"), SIGKILL);
  program head{c.w, {"node", "--head", "--listen", address, "--certs", (c.w.state / "certs" / "head").string(), "--slots", "1"}};
  const auto end = p.wait(seconds{90});
  ASSERT_EQ(end.exit_code, 0) << end.err << head.err();
  EXPECT_EQ(outcome_of(end.err), expected);
  EXPECT_NE(::kill(old, 0), 0);
  EXPECT_EQ(c.events("g", "started").back()["attempt"], 2);
  EXPECT_TRUE(c.events("g", "failed").empty()) << "it is no failure of the gang";
  EXPECT_THAT(c.why("g"), HasSubstr("the head has started anew"));
}

TEST(gang_cluster, a_gang_waits_without_holding_anything_and_makes_way_for_a_larger_priority) {
  gang_cluster c{2, 1};
  const auto expected = c.undisturbed(2, "150");
  const auto plenty = c.training(4, "20", "plenty", {"--detach"});
  ASSERT_EQ(run(c.w, plenty).exit_code, 0);
  EXPECT_EQ(run(c.w, plenty).exit_code, 0) << "the same order again is the same gang";
  EXPECT_EQ(run(c.w, c.training(4, "21", "plenty", {"--detach"})).exit_code, 1) << "another order of that name is not";
  EXPECT_THAT(c.why("plenty"), HasSubstr("2 more such slots"));

  program low{c.w, c.training(2, "150", "low", {"--checkpoint", c.checkpoints.string()}, "1000")};
  std::string why;
  ASSERT_TRUE(eventually([&] { return (why = c.why("low")).find(" steps by all") != std::string::npos && why.find(" 0 steps by all") == std::string::npos; }, seconds{60}))
      << why << low.err();
  const auto high = run(c.w, c.training(2, "20", "high", {"--priority", "5"}));
  EXPECT_EQ(high.exit_code, 0) << high.err;
  const auto end = low.wait(seconds{90});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(outcome_of(end.err), expected);
  EXPECT_EQ(c.events("low", "yielded").size(), 1U);
  EXPECT_THAT(end.err, Not(HasSubstr("resumed_from:  0\n"))) << "it saved a checkpoint when it was asked to make way";
  EXPECT_TRUE(c.events("low", "failed").empty());
  EXPECT_THAT(c.why("low"), HasSubstr("makes way for high"));

  const auto cancelled = run(c.w, {"cancel", "plenty"});
  EXPECT_EQ(cancelled.exit_code, 0) << cancelled.err;
  EXPECT_TRUE(eventually([&] { return c.events("plenty", "cancelled").size() == 1; }, seconds{10}));
}

TEST(gang_cluster, ends_and_mistakes_are_told_as_on_one_machine) {
  gang_cluster c{2, 1};
  const auto two = [&](const std::string& script, std::vector<std::string> options = {}) {
    std::vector<std::string> words{"launch", "--on-cluster", "--ranks", "2"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "sh", "-c", script});
    return words;
  };
  const auto shown = run(c.w, two("echo $RANK of $WORLD_SIZE, $LOCAL_RANK in $GROUP_RANK, $HELLO", {"--env", "HELLO=there"}));
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("[0] 0 of 2, 0 in 0, there\n"));
  EXPECT_THAT(shown.out, HasSubstr("[1] 1 of 2, 0 in 1, there\n"));
  EXPECT_EQ(run(c.w, two("exit 7", {"--restarts", "0"})).exit_code, 7);
  EXPECT_EQ(run(c.w, {"launch", "--on-cluster", "--", "./no-such-program"}).exit_code, 127);
  EXPECT_EQ(run(c.w, two("true", {"--time", "0s"})).exit_code, 2);
  EXPECT_EQ(run(c.w, two("true", {"--gpus", "0,1"})).exit_code, 2);
  EXPECT_EQ(run(c.w, {"launch", "--priority", "3", "--", "true"}).exit_code, 2) << "there is no other gang to be more important than";
  const auto late = run(c.w, two("sleep 600", {"--time", "1s"}));
  EXPECT_EQ(late.exit_code, 1);
  EXPECT_THAT(late.err, HasSubstr("its time of 1.0s is over"));

  program p{c.w, two("trap 'echo stopping; exit 0' TERM; while true; do sleep 0.05; done", {"--name", "stopped"})};
  ASSERT_TRUE(eventually([&] { return c.events("stopped", "started").size() == 1; }, seconds{30}));
  p.signal(SIGINT);
  const auto end = p.wait(seconds{60});
  EXPECT_EQ(end.exit_code, 130) << end.err;
  EXPECT_THAT(end.err, HasSubstr("the gang was stopped"));

  const auto authority = (c.w.state / "certs").string();
  ASSERT_EQ(run(c.w, {"certs", "issue", "eve", "--role", "viewer", "--dir", authority, "--to", (c.w.root / "eve").string()}).exit_code, 0);
  const auto file = read_file(c.w.state / "run" / "cluster.json", 4096);
  ASSERT_TRUE(file);
  auto words = two("true");
  words.insert(words.begin() + 1, {"--cluster", json::parse(*file).value("address", ""), "--certs", (c.w.root / "eve").string()});
  const auto denied = run(c.w, words);
  EXPECT_EQ(denied.exit_code, 4);
  EXPECT_THAT(denied.err, HasSubstr("a viewer may not launch"));
}
