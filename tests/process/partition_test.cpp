// Nodes in network namespaces: the link goes down, or carries packets in one direction only. Nothing closes; everything is just silent.

#include "tests/process/flywheel_program.hpp"
#include "tests/process/promises.hpp"

#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/journal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::testing;
using nlohmann::json;
using std::chrono::seconds;

namespace {

int shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }

/// A head and node2 on this host, node1 behind a link of its own.
class partition : public ::testing::Test {
protected:
  void SetUp() override {
    if (::geteuid() != 0 || shell("command -v ip") != 0)
      GTEST_SKIP() << "needs root and iproute2 for network namespaces";
    const auto number = std::to_string(::getpid() % 200 + 20);
    space = "fwns" + std::to_string(::getpid());
    outside = "fwo" + std::to_string(::getpid());
    const auto inside = "fwi" + std::to_string(::getpid());
    host = "10.213." + number + ".1";
    guest = "10.213." + number + ".2";
    if (shell("ip netns add " + space) != 0)
      GTEST_SKIP() << "this kernel or container lets nobody make network namespaces";
    if (shell("ip link add " + outside + " type veth peer name " + inside + " && ip link set " + inside + " netns " + space + " && ip addr add " + host +
              "/24 dev " + outside + " && ip link set " + outside + " up && ip -n " + space + " addr add " + guest + "/24 dev " + inside + " && ip -n " + space +
              " link set " + inside + " up && ip -n " + space + " link set lo up") != 0)
      GTEST_SKIP() << "this kernel or container has no virtual links";
    const auto certs = w.root / "certs";
    ASSERT_EQ(run(w, {"certs", "init", "lab", "--dir", (certs / "ca").string()}).exit_code, 0);
    for (const char* name : {"head", "node1", "node2"})
      ASSERT_EQ(run(w, {"certs", "issue", name, "--role", "node", "--dir", (certs / "ca").string(), "--to", (certs / name).string()}).exit_code, 0);
    head.emplace(w, std::vector<std::string>{"node", "--head", "--listen", host + ":0", "--certs", (certs / "head").string(), "--slots", "1"});
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(w.state / "run" / "cluster.json"); }, seconds{30})) << head->err();
    const auto address = json::parse(*read_file(w.state / "run" / "cluster.json", 4096)).value("address", "");
    for (const auto& [name, prefix] : {std::pair{std::string{"node1"}, "ip netns exec " + space + " "}, {std::string{"node2"}, std::string{}}})
      ASSERT_EQ(std::system((prefix + FLYWHEEL_PROGRAM + " node --join " + address + " --certs " + (certs / name).string() + " --slots 1 --state " +
                             (w.root / name).string() + " >" + (w.root / (name + ".log")).string() + " 2>&1 &")
                                .c_str()),
                0);
    ASSERT_TRUE(eventually([&] { return state_of("node1") == "alive" && state_of("node2") == "alive"; }, seconds{30}));
    w.small_goal();
    ASSERT_EQ(run(w, {"submit", w.goal.string(), "--approve"}).exit_code, 0);
    ASSERT_TRUE(eventually([&] { return busy("node1"); }, seconds{60}));
  }
  void TearDown() override {
    head.reset();
    for (const int pid : pids_with({w.root.string()}))
      ::kill(pid, SIGKILL);
    shell("ip link del " + outside);
    shell("ip netns del " + space);
  }
  json node(const std::string& name) const {
    const auto listed = run(w, {"nodes", "-o", "json"});
    if (listed.exit_code == 0)
      for (const auto& n : json::parse(listed.out))
        if (n.value("node", "") == name)
          return n;
    return json::object();
  }
  std::string state_of(const std::string& name) const { return node(name).value("state", ""); }
  bool busy(const std::string& name) const { return node(name).value("busy", 0) > 0; }
  std::vector<int> workers_of_node1() const {
    const auto pids = pids_with({(w.root / "node1").string() + " ", "--join"});
    std::vector<int> workers;
    for (const int pid : pids)
      for (const int child : children_of(pid, "_worker"))
        workers.push_back(child);
    return workers;
  }
  /// node1 is silent: it is given up, has stopped by then, and the goal is done without it.
  void expect_done_without_node1() {
    ASSERT_TRUE(eventually([&] { return state_of("node1") == "dead"; }, seconds{20}));
    EXPECT_TRUE(workers_of_node1().empty()) << "it had stopped before it was given up";
    program watch{w, {"watch", "small"}};
    EXPECT_EQ(watch.wait(seconds{90}).exit_code, 0);
    expect_one_goal_done_once(w);
  }

  workshop w;
  std::optional<program> head;
  std::string space, outside, host, guest;
};

} // namespace

TEST_F(partition, a_link_that_goes_down_and_comes_back) {
  ASSERT_EQ(shell("ip link set " + outside + " down"), 0);
  expect_done_without_node1();
  ASSERT_EQ(shell("ip link set " + outside + " up"), 0);
  EXPECT_TRUE(eventually([&] { return state_of("node1") == "alive"; }, seconds{60})) << "by itself";
}

TEST_F(partition, packets_to_the_head_are_lost_and_those_to_the_node_arrive) {
  ASSERT_EQ(shell("ip -n " + space + " route add blackhole " + host + "/32"), 0);
  expect_done_without_node1();
  ASSERT_EQ(shell("ip -n " + space + " route del blackhole " + host + "/32"), 0);
  EXPECT_TRUE(eventually([&] { return state_of("node1") == "alive"; }, seconds{60})) << "by itself";
}

TEST_F(partition, packets_to_the_node_are_lost_and_those_to_the_head_arrive) {
  ASSERT_EQ(shell("ip route add blackhole " + guest + "/32"), 0);
  expect_done_without_node1();
  ASSERT_EQ(shell("ip route del blackhole " + guest + "/32"), 0);
  EXPECT_TRUE(eventually([&] { return state_of("node1") == "alive"; }, seconds{60})) << "by itself";
}

TEST_F(partition, a_rehearsal_cuts_the_link_and_mends_it) {
  const auto file = w.root / "cut.yaml";
  ASSERT_TRUE(publish_file(file, "flywheel_chaos: 1\nname: cut\nduration: 8s\nsettle: 2m\nexperiments:\n"
                                 "  - {name: link, kind: NetworkChaos, action: partition, selector: {nodes: [node1]}, direction: both, duration: 6s}\n"));
  EXPECT_EQ(run(w, {"chaos", file.string(), "--seed", "1"}).exit_code, 4) << "a cluster that is not `up --local` wants a yes";
  const auto end = run(w, {"chaos", file.string(), "--seed", "1", "--yes"});
  EXPECT_EQ(end.exit_code, 0) << end.out << end.err;
  EXPECT_THAT(end.out, ::testing::HasSubstr("link: partition node1"));
  EXPECT_THAT(end.out, ::testing::HasSubstr("the link of node1 is mended"));
  bool given_up = false;
  for (const auto& e : w.journal())
    given_up = given_up || (e.kind == event_kind::node_state && e.subject == "node1" && json::parse(e.body).value("state", "") == "dead");
  EXPECT_TRUE(given_up) << "six seconds of silence are longer than a lease";
  expect_one_goal_done_once(w);
}
