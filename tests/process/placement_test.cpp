// Agents on other nodes than the head: killed, frozen, drained and cut off in the middle of what they do.

#include "tests/process/local_cluster.hpp"

#include "cluster/journal/state_directory.hpp"

using namespace flywheel;
using namespace flywheel::testing;
using nlohmann::json;
using std::chrono::seconds;

namespace {

const std::vector<std::string> placed{"data_steward", "architect", "hpo", "evaluator"};

bool none_on(const local_cluster& c, const std::string& node) {
  return std::none_of(placed.begin(), placed.end(), [&](const auto& a) { return c.home_of(a) == node; });
}
/// Until every agent that may has left the head.
bool settled(const local_cluster& c) {
  return eventually([&] { return none_on(c, "head") && none_on(c, "?"); }, seconds{30});
}
bool searching(const local_cluster& c) {
  return eventually([&] { return c.w.count(event_kind::trial_state) > 0 && c.all_busy(); }, seconds{60});
}
std::size_t moves_of(const local_cluster& c, const std::string& agent) {
  std::size_t n = 0;
  for (const auto& e : c.w.journal())
    n += e.kind == event_kind::agent_state && e.subject == agent && json::parse(e.body).value("state", "") == "placed" ? 1 : 0;
  return n;
}

} // namespace

TEST(placement, agents_spread_over_the_nodes_and_a_goal_is_done_by_them) {
  local_cluster c{3};
  ASSERT_TRUE(settled(c));
  std::map<std::string, int> load;
  for (const auto& a : placed)
    ++load[c.home_of(a)];
  EXPECT_EQ(load["node1"], 2);
  EXPECT_EQ(load["node2"], 2);
  EXPECT_EQ(c.home_of("conductor"), "head") << "it stays with the journal";
  c.submit();
  c.expect_done();
  std::map<std::string, std::size_t> said; // by whom entries are written: they came from other nodes
  for (const auto& e : c.w.journal())
    ++said[e.actor];
  for (const auto& a : placed)
    EXPECT_GT(said[a], 0U) << a;
}

TEST(placement, an_agent_whose_node_is_killed_goes_on_elsewhere_from_the_journal) {
  local_cluster c{3};
  ASSERT_TRUE(settled(c));
  c.submit();
  ASSERT_TRUE(searching(c));
  const auto home = c.home_of("hpo");
  ASSERT_NE(home, "head");
  ::kill(c.pid_of(home), SIGKILL);
  EXPECT_TRUE(eventually([&] { return c.home_of("hpo") != home && c.home_of("hpo") != "?"; }, seconds{20}));
  c.expect_done();
  EXPECT_GE(moves_of(c, "hpo"), 2U);
}

TEST(placement, an_agent_whose_node_is_frozen_is_replaced_and_what_it_says_when_it_wakes_counts_nothing) {
  local_cluster c{3};
  ASSERT_TRUE(settled(c));
  c.submit();
  ASSERT_TRUE(searching(c));
  const auto home = c.home_of("hpo");
  const int frozen = c.pid_of(home);
  ::kill(frozen, SIGSTOP);
  EXPECT_TRUE(eventually([&] { return c.home_of("hpo") != home && c.home_of("hpo") != "?"; }, seconds{20}));
  ::kill(frozen, SIGCONT);
  EXPECT_TRUE(eventually([&] { return c.state_of(home) == "alive"; }, seconds{20}));
  c.expect_done();
}

TEST(placement, a_head_that_is_killed_has_its_agents_again_on_the_nodes) {
  local_cluster c{3};
  ASSERT_TRUE(settled(c));
  c.submit();
  ASSERT_TRUE(searching(c));
  ::kill(c.pid_of("head"), SIGKILL);
  ASSERT_TRUE(eventually([&] { return owner_pid(c.w.state) == 0; }, seconds{20}));
  const program again{c.w, {"node", "--head", "--listen", c.address, "--certs", c.certs("head"), "--slots", "1"}};
  EXPECT_TRUE(eventually([&] { return c.state_of("node1") == "alive" && c.state_of("node2") == "alive"; }, seconds{30})) << again.err();
  c.expect_done();
  EXPECT_TRUE(settled(c)) << again.err();
}

TEST(placement, agents_leave_a_node_that_drains_and_come_back_to_none) {
  local_cluster c{3};
  ASSERT_TRUE(settled(c));
  ASSERT_EQ(run(c.w, {"drain", "node1"}).exit_code, 0);
  EXPECT_TRUE(eventually([&] { return none_on(c, "node1") && none_on(c, "?"); }, seconds{20}));
  ASSERT_EQ(run(c.w, {"drain", "node2"}).exit_code, 0);
  EXPECT_TRUE(eventually([&] { return std::all_of(placed.begin(), placed.end(), [&](const auto& a) { return c.home_of(a) == "head"; }); }, seconds{20}));
}

TEST(placement, an_agent_whose_node_says_goodbye_moves) {
  local_cluster c{2};
  ASSERT_TRUE(settled(c));
  c.submit();
  ASSERT_TRUE(searching(c));
  ::kill(c.pid_of("node1"), SIGTERM);
  EXPECT_TRUE(eventually([&] { return c.home_of("hpo") == "head"; }, seconds{20}));
  c.expect_done();
}
