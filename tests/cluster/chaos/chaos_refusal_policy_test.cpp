// Each fault that cannot be done here is refused with what is missing, and the commands that cut links are those that mend them.

#include "cluster/chaos/chaos_refusal_policy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flywheel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

chaos_means all_means() {
  chaos_means m;
  m.nodes = {{"head", true, true, 10, false, {}, {}, {}, {}, {}, false},
             {"node1", false, true, 11, true, "ns1", "10.0.0.1", "10.0.0.2", "eth0", "veth1", true},
             {"node2", false, true, 12, false, {}, "10.0.0.1", {}, {}, {}, false}};
  m.root = m.ip = m.tc = m.nsenter = m.netem = m.tbf = true;
  m.disk_available = 100ull << 30;
  m.cores = 2;
  return m;
}

std::vector<std::string> refusals(chaos_experiment e, const chaos_means& m = all_means()) {
  chaos_spec s;
  e.name = "e";
  s.experiments = {std::move(e)};
  return why_not_here(s, m);
}

chaos_experiment of(const std::string& kind, const std::string& action, std::vector<std::string> nodes = {}) {
  chaos_experiment e;
  e.kind = kind;
  e.action = action;
  e.selector.nodes = std::move(nodes);
  return e;
}

TEST(chaos_refusal_policy, what_can_be_done_is_not_refused) {
  EXPECT_THAT(refusals(of("PodChaos", "pod-kill", {"head", "node2"})), IsEmpty());
  EXPECT_THAT(refusals(of("NetworkChaos", "partition", {"node1"})), IsEmpty());
  EXPECT_THAT(refusals(of("NetworkChaos", "delay", {"node1"})), IsEmpty());
  EXPECT_THAT(refusals(of("TimeChaos", "", {"head"})), IsEmpty());
  EXPECT_THAT(refusals(of("StressChaos", "")), IsEmpty());
  auto e = of("PhysicalMachineChaos", "disk-fill");
  e.size = 1ull << 30;
  EXPECT_THAT(refusals(e), IsEmpty());
}

TEST(chaos_refusal_policy, each_thing_that_is_missing_is_named) {
  EXPECT_THAT(refusals(of("IOChaos", "fault")), ElementsAre(HasSubstr("FUSE")));
  EXPECT_THAT(refusals(of("PodChaos", "pod-kill", {"nod1"})), ElementsAre(HasSubstr("no node 'nod1' (it has head, node1, node2)")));
  auto m = all_means();
  m.nodes[1].here = false;
  EXPECT_THAT(refusals(of("PodChaos", "pod-failure", {"node1"}), m), ElementsAre(HasSubstr("does not run on this machine")));
  m = all_means();
  m.nodes[1].network.clear();
  EXPECT_THAT(refusals(of("PodChaos", "pod-kill", {"node1"}), m), ElementsAre(HasSubstr("without a name")));
  EXPECT_THAT(refusals(of("NetworkChaos", "partition", {"node2"})), ElementsAre(HasSubstr("shares this machine's network")));
  EXPECT_THAT(refusals(of("NetworkChaos", "partition", {"head"})), ElementsAre(HasSubstr("role: node")));
  m = all_means();
  m.root = false;
  EXPECT_THAT(refusals(of("NetworkChaos", "partition", {"node1"}), m), ElementsAre(HasSubstr("root only")));
  m = all_means();
  m.ip = false;
  EXPECT_THAT(refusals(of("NetworkChaos", "partition", {"node1"}), m), ElementsAre(HasSubstr("'ip' is missing")));
  m = all_means();
  m.netem = false;
  EXPECT_THAT(refusals(of("NetworkChaos", "loss", {"node1"}), m), ElementsAre(HasSubstr("no queue 'netem'")));
  m.tbf = false;
  EXPECT_THAT(refusals(of("NetworkChaos", "bandwidth", {"node1"}), m), ElementsAre(HasSubstr("sch_tbf")));
  m = all_means();
  m.nodes[1].outside_is_its_own = false;
  auto from = of("NetworkChaos", "delay", {"node1"});
  from.direction = "both";
  EXPECT_THAT(refusals(from, m), ElementsAre(HasSubstr("only direction: to")));
  EXPECT_THAT(refusals(of("TimeChaos", "", {"node1"})), ElementsAre(HasSubstr("role: head")));
  auto agent = of("PodChaos", "container-kill", {"node1"});
  agent.containers = {"hpo"};
  EXPECT_THAT(refusals(agent), ElementsAre(HasSubstr("agents run on the head")));
  auto stress = of("StressChaos", "");
  stress.workers = 9;
  EXPECT_THAT(refusals(stress), ElementsAre(HasSubstr("cores")));
}

TEST(chaos_refusal_policy, a_disk_that_others_use_is_not_filled_up) {
  auto e = of("PhysicalMachineChaos", "disk-fill");
  e.size = (100ull << 30) - disk_left_min + 1;
  EXPECT_THAT(refusals(e), ElementsAre(HasSubstr("file system that others use")));
  e.size = (100ull << 30) - disk_left_min;
  EXPECT_THAT(refusals(e), IsEmpty());
  auto m = all_means();
  m.disk_dedicated = true;
  e.size = 200ull << 30;
  EXPECT_THAT(refusals(e, m), IsEmpty());
}

std::string joined(const std::vector<std::vector<std::string>>& commands) {
  std::string out;
  for (const auto& c : commands) {
    for (const auto& w : c)
      out += w + " ";
    out.back() = '\n';
  }
  return out;
}

TEST(chaos_refusal_policy, links_are_cut_and_mended_by_the_same_words) {
  const auto node = all_means().nodes[1];
  auto e = of("NetworkChaos", "partition");
  e.direction = "both";
  EXPECT_EQ(joined(link_commands_of(e, node).strike), "ip netns exec ns1 ip route add blackhole 10.0.0.1/32\nip route add blackhole 10.0.0.2/32\n");
  EXPECT_EQ(joined(link_commands_of(e, node).undo), "ip netns exec ns1 ip route del blackhole 10.0.0.1/32\nip route del blackhole 10.0.0.2/32\n");
  e.direction = "from";
  EXPECT_EQ(joined(link_commands_of(e, node).strike), "ip route add blackhole 10.0.0.2/32\n");
  e = of("NetworkChaos", "delay");
  e.delay.latency = 100ms;
  e.delay.jitter = 1ms;
  e.delay.correlation = 25;
  EXPECT_EQ(joined(link_commands_of(e, node).strike), "ip netns exec ns1 tc qdisc add dev eth0 root netem delay 100000us 1000us 25%\n");
  EXPECT_EQ(joined(link_commands_of(e, node).undo), "ip netns exec ns1 tc qdisc del dev eth0 root\n");
  e = of("NetworkChaos", "loss");
  e.loss.loss = 30;
  e.direction = "from";
  EXPECT_EQ(joined(link_commands_of(e, node).strike), "tc qdisc add dev veth1 root netem loss 30% 0%\n");
  e = of("NetworkChaos", "bandwidth");
  e.bandwidth.rate = 1000;
  auto unnamed = node;
  unnamed.network.clear();
  EXPECT_EQ(joined(link_commands_of(e, unnamed).strike), "nsenter --target 11 --net tc qdisc add dev eth0 root tbf rate 1000bps limit 1048576 burst 32768\n");
}

} // namespace
} // namespace flywheel
