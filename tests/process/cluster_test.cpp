// Several node processes on this machine: killed, frozen, started again, visited by strangers.

#include "tests/process/flywheel_program.hpp"
#include "tests/process/local_cluster.hpp"
#include "tests/process/promises.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/random.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <csignal>
#include <fstream>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using nlohmann::json;
using std::chrono::seconds;

namespace {

/// A TCP connection that says `bytes` and reads what comes back until the other side is done with it.
void visit(const std::string& address, const std::string& bytes) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  [[maybe_unused]] const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  ::shutdown(fd, SHUT_WR);
  const timeval patience{2, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char buffer[4096];
  while (::recv(fd, buffer, sizeof buffer, 0) > 0) {
  }
  ::close(fd);
}

} // namespace

TEST(cluster, a_goal_runs_on_three_nodes_as_on_one_and_nothing_is_left_behind) {
  local_cluster c{3};
  ASSERT_EQ(c.nodes().size(), 3U);
  c.submit();
  EXPECT_TRUE(eventually([&] { return c.all_busy(); }, seconds{60})) << "trials run on every node at once";
  c.expect_done();
  EXPECT_EQ(c.broken("node1") + c.broken("node2"), 0U);
  const auto down = run(c.w, {"down"});
  EXPECT_EQ(down.exit_code, 0) << down.err;
  EXPECT_TRUE(eventually([&] { return pids_with({c.w.root.string()}).empty(); }, seconds{20}));
  EXPECT_EQ(run(c.w, {"nodes"}).exit_code, 5) << "nobody there";
}

TEST(cluster, a_node_that_is_killed_costs_time_and_nothing_else) {
  local_cluster c{3};
  c.submit();
  ASSERT_TRUE(eventually([&] { return c.all_busy(); }, seconds{60}));
  ::kill(c.pid_of("node1"), SIGKILL);
  EXPECT_TRUE(eventually([&] { return c.state_of("node1") == "dead"; }, seconds{20}));
  EXPECT_TRUE(pids_with({c.w.root.string(), "nodes/node1"}).empty()) << "its workers went with it";
  c.expect_done();
  EXPECT_EQ(c.times("node1", "dead"), 1U);
  EXPECT_EQ(c.times("node2", "dead"), 0U);
}

TEST(cluster, a_node_that_is_frozen_stops_before_its_work_is_given_on_and_comes_back_as_another) {
  local_cluster c{3};
  c.submit();
  ASSERT_TRUE(eventually([&] { return c.all_busy(); }, seconds{60}));
  const int frozen = c.pid_of("node1");
  const auto workers = children_of(frozen, "_worker");
  EXPECT_FALSE(workers.empty());
  ::kill(frozen, SIGSTOP);
  ASSERT_TRUE(eventually([&] { return c.times("node1", "dead") == 1; }, seconds{20}));
  for (const int pid : workers) { // its workers are not frozen, and have ended by themselves
    std::ifstream in{"/proc/" + std::to_string(pid) + "/stat"};
    std::string stat{std::istreambuf_iterator<char>{in}, {}};
    EXPECT_TRUE(stat.empty() || stat.find(") Z ") != std::string::npos) << stat;
  }
  ::kill(frozen, SIGCONT);
  EXPECT_TRUE(eventually([&] { return c.state_of("node1") == "alive"; }, seconds{20}));
  c.expect_done();
}

TEST(cluster, the_only_other_node_is_missed_each_time_it_falls_silent) {
  local_cluster c{2};
  const int pid = c.pid_of("node1");
  for (std::size_t i = 1; i <= 2; ++i) { // the second time the head has nothing else to look at the clock for
    ::kill(pid, SIGSTOP);
    EXPECT_TRUE(eventually([&] { return c.times("node1", "dead") == i; }, seconds{15})) << i;
    ::kill(pid, SIGCONT);
    EXPECT_TRUE(eventually([&] { return c.times("node1", "alive") >= i + 1 && c.state_of("node1") == "alive"; }, seconds{15})) << i;
  }
}

TEST(cluster, a_head_that_is_killed_and_started_again_finds_its_nodes_and_goes_on) {
  local_cluster c{3};
  c.submit();
  ASSERT_TRUE(eventually([&] { return c.all_busy(); }, seconds{60}));
  ::kill(c.pid_of("head"), SIGKILL);
  ASSERT_TRUE(eventually([&] { return owner_pid(c.w.state) == 0; }, seconds{20})) << "it holds the state folder until it is gone altogether";
  const program again{c.w, {"node", "--head", "--listen", c.address, "--certs", c.certs("head"), "--slots", "1"}};
  EXPECT_TRUE(eventually([&] { return c.state_of("node1") == "alive" && c.state_of("node2") == "alive"; }, seconds{30})) << again.err();
  c.expect_done();
}

TEST(cluster, a_node_that_leaves_in_order_hands_its_work_over_at_once) {
  local_cluster c{2};
  c.submit();
  ASSERT_TRUE(eventually([&] { return c.all_busy(); }, seconds{60}));
  ::kill(c.pid_of("node1"), SIGTERM);
  EXPECT_TRUE(eventually([&] { return c.state_of("node1") == "left"; }, seconds{20}));
  EXPECT_EQ(c.times("node1", "dead"), 0U);
  c.expect_done();
}

TEST(cluster, a_drained_node_finishes_and_gets_nothing_new) {
  local_cluster c{2};
  const auto drained = run(c.w, {"drain", "node1"});
  EXPECT_EQ(drained.exit_code, 0) << drained.err;
  EXPECT_EQ(run(c.w, {"drain", "node7"}).exit_code, 3);
  c.submit();
  EXPECT_TRUE(eventually([&] { return c.nodes()[0].value("busy", 0) == 1; }, seconds{60}));
  EXPECT_EQ(c.nodes()[1].value("busy", 0), 0);
  EXPECT_TRUE(c.nodes()[1].value("draining", false));
  EXPECT_EQ(run(c.w, {"drain", "head"}).exit_code, 0);
  std::string why;
  EXPECT_TRUE(eventually([&] { return (why = run(c.w, {"why", "small"}).out).find(" waits: ") != std::string::npos; }, seconds{60})) << why;
  EXPECT_THAT(why, HasSubstr("slot")) << "and what would let it run";
}

TEST(cluster, people_do_what_their_certificate_lets_them_and_refusals_are_recorded) {
  local_cluster c{2};
  const auto authority = (c.w.state / "certs").string();
  for (const char* who : {"viewer", "submitter"})
    ASSERT_EQ(run(c.w, {"certs", "issue", who, "--role", who, "--dir", authority, "--to", c.certs(who)}).exit_code, 0);
  const auto as = [&](const std::string& who, std::vector<std::string> words) {
    words.insert(words.end(), {"--cluster", c.address, "--certs", c.certs(who)});
    return run(c.w, words);
  };
  c.w.small_goal();
  EXPECT_EQ(as("viewer", {"nodes"}).exit_code, 0);
  const auto denied = as("viewer", {"submit", c.w.goal.string()});
  EXPECT_EQ(denied.exit_code, 4);
  EXPECT_THAT(denied.err, HasSubstr("a viewer may not submit"));
  EXPECT_EQ(as("submitter", {"drain", "node1"}).exit_code, 4);
  EXPECT_EQ(as("submitter", {"submit", c.w.goal.string()}).exit_code, 0);
  EXPECT_EQ(as("submitter", {"submit", c.w.goal.string()}).exit_code, 0) << "the same goal again";
  EXPECT_EQ(c.w.count(event_kind::goal_submitted), 1U);
  for (const auto& e : c.w.journal()) {
    if (e.kind == event_kind::goal_submitted) {
      EXPECT_EQ(json::parse(e.body).value("user", ""), "submitter") << "as the certificate says";
    }
  }
  // Another authority's certificate, of the same name and role.
  const auto other = (c.w.root / "other").string();
  ASSERT_EQ(run(c.w, {"certs", "init", "local", "--dir", other}).exit_code, 0);
  ASSERT_EQ(run(c.w, {"certs", "issue", "head", "--role", "admin", "--dir", other, "--to", c.certs("stranger")}).exit_code, 0);
  EXPECT_EQ(as("stranger", {"nodes"}).exit_code, 4);
  EXPECT_EQ(run(c.w, {"nodes", "--cluster", c.address}).exit_code, 2) << "who are you?";
  EXPECT_EQ(run(c.w, {"nodes", "--cluster", "127.0.0.1:1", "--certs", c.certs("viewer")}).exit_code, 5);
  EXPECT_EQ(run(c.w, {"nodes", "--cluster", "nonsense", "--certs", c.certs("viewer")}).exit_code, 2);
}

TEST(cluster, strangers_and_guests_who_leave_disturb_nobody) {
  local_cluster c{3};
  random_source random{5};
  for (int i = 0; i < 40; ++i) {
    std::string bytes(1 + random.below(300), '\0');
    for (auto& b : bytes)
      b = static_cast<char>(random.below(256));
    visit(c.address, bytes);
  }
  visit(c.address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  visit(c.address, std::string("\0\0\0\0\0\0\0\x40", 8) + std::string(24, '\0')); // a header that announces a gigabyte
  visit(c.address, std::string("\x16\x03\x01\xff\xff", 5) + std::string(100'000, 'x'));
  visit(c.address, "");
  std::string me = "admin-";
  for (const auto& entry : std::filesystem::directory_iterator{c.w.state / "certs"})
    if (entry.path().filename().string().starts_with("admin-"))
      me = entry.path().filename().string();
  for (int i = 0; i < 5; ++i) {
    const auto guest = run(c.w, {"nodes", "--cluster", c.address, "--certs", c.certs(me)});
    EXPECT_EQ(guest.exit_code, 0) << guest.err;
  }
  c.submit();
  c.expect_done();
  EXPECT_EQ(c.broken("node1") + c.broken("node2"), 0U) << "no connection was lost to that";
}

TEST(cluster, what_cannot_work_is_said_at_once) {
  workshop w;
  EXPECT_EQ(run(w, {"node"}).exit_code, 2);
  EXPECT_EQ(run(w, {"node", "--head", "--join", "x:1"}).exit_code, 2);
  EXPECT_EQ(run(w, {"node", "--head"}).exit_code, 2) << "no certificate";
  EXPECT_EQ(run(w, {"node", "--head", "--certs", (w.root / "none").string()}).exit_code, 3);
  EXPECT_EQ(run(w, {"up", "--local", "0"}).exit_code, 2);
  EXPECT_EQ(run(w, {"nodes"}).exit_code, 5);
  ASSERT_EQ(run(w, {"certs", "init", "lab", "--dir", (w.root / "ca").string()}).exit_code, 0);
  ASSERT_EQ(run(w, {"certs", "issue", "maria", "--role", "admin", "--dir", (w.root / "ca").string(), "--to", (w.root / "maria").string()}).exit_code, 0);
  const auto person = run(w, {"node", "--head", "--certs", (w.root / "maria").string()});
  EXPECT_EQ(person.exit_code, 4);
  EXPECT_THAT(person.err, HasSubstr("a node's is needed"));
  ASSERT_EQ(run(w, {"certs", "issue", "a", "--role", "node", "--dir", (w.root / "ca").string(), "--to", (w.root / "a").string()}).exit_code, 0);
  const auto taken = run(w, {"node", "--head", "--certs", (w.root / "a").string(), "--listen", "203.0.113.1:7"});
  EXPECT_EQ(taken.exit_code, 1) << "not an address of this machine";
  std::filesystem::permissions(w.root / "a" / "a.key", std::filesystem::perms::all);
  EXPECT_EQ(run(w, {"node", "--head", "--certs", (w.root / "a").string()}).exit_code, 4) << "others can read the key";
}
