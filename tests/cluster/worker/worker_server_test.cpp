// The worker's side, against a node that the test plays itself, byte by byte.

#include "cluster/worker/worker_pool.hpp"
#include "cluster/worker/worker_protocol.hpp"
#include "cluster/worker/zmq_socket.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

using namespace flywheel;

extern "C" char** environ;

namespace {

/// How a process ended, within ten seconds; -1000 if it did not.
int exit_of(pid_t pid) {
  pollfd ended{static_cast<int>(syscall(SYS_pidfd_open, pid, 0)), POLLIN, 0};
  const bool in_time = poll(&ended, 1, 10'000) == 1;
  close(ended.fd);
  if (!in_time) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return -1000;
  }
  int state = 0;
  waitpid(pid, &state, 0);
  return WIFEXITED(state) ? WEXITSTATUS(state) : -WTERMSIG(state);
}

class worker_server_test : public testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/flywheel-server-XXXXXX";
    folder = mkdtemp(name);
    auto opened = message_socket::open(context, ZMQ_ROUTER);
    ASSERT_TRUE(opened);
    node.emplace(std::move(opened).value());
    node->set(ZMQ_RCVTIMEO, 10'000);
    ASSERT_EQ(zmq_bind(node->get(), ("ipc://" + socket()).c_str()), 0);
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
    setenv("FLYWHEEL_WORKER_SOCKET", socket().c_str(), 1);
    setenv("FLYWHEEL_WORKER_ID", "5", 1);
    setenv("FLYWHEEL_WORKER_TOKEN", "the-token", 1);
    char program[] = FLYWHEEL_TEST_WORKER;
    char* const arguments[] = {program, nullptr};
    ASSERT_EQ(posix_spawn(&worker, program, &quiet, nullptr, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&quiet);
    for (const auto* variable : {"FLYWHEEL_WORKER_SOCKET", "FLYWHEEL_WORKER_ID", "FLYWHEEL_WORKER_TOKEN"})
      unsetenv(variable);
  }
  void TearDown() override {
    node.reset();
    if (worker > 0)
      exit_of(worker);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  std::string socket() const { return folder + "/s"; }
  std::string receive() {
    char buffer[70'000];
    const int peer_size = zmq_recv(node->get(), buffer, sizeof buffer, 0);
    if (peer_size < 0)
      return {};
    peer.assign(buffer, static_cast<std::size_t>(peer_size));
    const int n = zmq_recv(node->get(), buffer, sizeof buffer, 0);
    return {buffer, static_cast<std::size_t>(std::max(n, 0))};
  }
  /// The next message of kind T; heartbeats in between are passed over.
  template <class T> T next() {
    for (;;) {
      const auto m = wire::decode(receive());
      if (!m) {
        ADD_FAILURE() << m.error().to_string();
        return {};
      }
      if (const auto* found = std::get_if<T>(&*m))
        return *found;
      if (!std::holds_alternative<wire::heartbeat>(*m)) {
        ADD_FAILURE() << "got " << wire::name_of(*m);
        return {};
      }
    }
  }
  void send_bytes(const std::string& bytes) {
    ASSERT_TRUE(node->send(peer, true));
    ASSERT_TRUE(node->send(bytes));
  }
  void send(const wire::message& m) { send_bytes(wire::encode(m)); }
  void greet() {
    const auto hello = next<wire::hello>();
    EXPECT_EQ(hello.worker, "5");
    EXPECT_EQ(hello.token, "the-token");
    EXPECT_EQ(hello.pid, static_cast<std::uint32_t>(worker));
    send(wire::welcome{1, 5});
  }
  int ended() { return exit_of(std::exchange(worker, 0)); }

  std::string folder, peer;
  pid_t worker = 0;
  message_context context;
  std::optional<message_socket> node;
};

} // namespace

TEST_F(worker_server_test, serves_a_task_with_heartbeats_and_leaves_when_dismissed) {
  greet();
  const auto idle = next<wire::heartbeat>();
  EXPECT_EQ(idle.task, "");
  EXPECT_GT(idle.rss_bytes, 500'000u);
  send(wire::task{"t", 3, "ok", "x"});
  const auto done = next<wire::done>();
  EXPECT_EQ(done.task, "t");
  EXPECT_EQ(done.attempt, 3u);
  send(wire::stop{"", "no more work"});
  EXPECT_EQ(ended(), 0);
}

TEST_F(worker_server_test, a_busy_workers_heartbeat_names_its_task_and_a_stop_for_another_is_ignored) {
  greet();
  send(wire::task{"t", 1, "obey_stop", ""});
  while (next<wire::heartbeat>().task != "t") {
  }
  send(wire::stop{"an-older-task", "crossed on the way"});
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(next<wire::heartbeat>().task, "t");
  send(wire::stop{"t", "now"});
  EXPECT_EQ(next<wire::failed>().code, "cancelled");
}

TEST_F(worker_server_test, a_verdict_for_another_rung_does_not_wake_the_report) {
  greet();
  send(wire::task{"t", 1, "report", ""});
  EXPECT_EQ(next<wire::report>().rung, 0u);
  send(wire::verdict{"t", 7, false});
  send(wire::verdict{"other", 0, false});
  for (int i = 0; i < 10; ++i)
    next<wire::heartbeat>();
  send(wire::verdict{"t", 0, true});
  EXPECT_EQ(next<wire::report>().rung, 1u);
  send(wire::verdict{"t", 1, false});
  EXPECT_EQ(next<wire::done>().body, "+-");
}

TEST_F(worker_server_test, ends_when_the_node_is_gone) {
  greet();
  node.reset();
  EXPECT_EQ(ended(), 70);
}

TEST_F(worker_server_test, ends_although_it_computes_and_heeds_nothing_when_the_node_is_gone) {
  greet();
  send(wire::task{"t", 1, "hang", ""});
  while (next<wire::heartbeat>().task != "t") {
  }
  node.reset();
  EXPECT_EQ(ended(), 70);
}

TEST_F(worker_server_test, a_report_that_waits_is_released_when_the_node_is_gone) {
  greet();
  send(wire::task{"t", 1, "report", ""});
  next<wire::report>();
  node.reset();
  EXPECT_EQ(ended(), 70);
}

TEST_F(worker_server_test, leaves_a_node_that_speaks_noise) {
  greet();
  send_bytes("\xc1 noise");
  EXPECT_EQ(ended(), 2);
}

TEST_F(worker_server_test, leaves_a_node_of_another_version) {
  next<wire::hello>();
  send(wire::welcome{2, 5});
  EXPECT_EQ(ended(), 2);
}

TEST_F(worker_server_test, a_second_task_at_once_is_refused_by_leaving) {
  greet();
  send(wire::task{"t", 1, "hang", ""});
  send(wire::task{"u", 1, "ok", ""});
  EXPECT_EQ(ended(), 2);
}

TEST(worker_and_node, a_worker_dies_with_its_killed_node) {
  char name[] = "/tmp/flywheel-node-XXXXXX";
  const std::string folder = mkdtemp(name);
  int out[2];
  ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  std::string program = FLYWHEEL_TEST_WORKER, role = "node", socket = folder + "/s";
  char* const arguments[] = {program.data(), role.data(), socket.data(), nullptr};
  pid_t node = 0;
  ASSERT_EQ(posix_spawn(&node, program.c_str(), &actions, nullptr, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  char text[32] = {};
  ASSERT_GT(read(out[0], text, sizeof text - 1), 0);
  close(out[0]);
  const int worker = std::atoi(text);
  ASSERT_GT(worker, 1);
  pollfd worker_end{static_cast<int>(syscall(SYS_pidfd_open, worker, 0)), POLLIN, 0};
  ASSERT_GE(worker_end.fd, 0);
  EXPECT_EQ(poll(&worker_end, 1, 0), 0);
  kill(node, SIGKILL);
  EXPECT_EQ(exit_of(node), -SIGKILL);
  EXPECT_EQ(poll(&worker_end, 1, 5'000), 1) << "the worker outlived its node";
  close(worker_end.fd);
  std::filesystem::remove_all(folder);
}

TEST(worker_server, without_a_socket_or_with_one_too_long_it_says_so_and_ends) {
  unsetenv("FLYWHEEL_WORKER_SOCKET");
  testing::internal::CaptureStderr();
  EXPECT_EQ(serve_worker({}, {}), 2);
  EXPECT_EQ(serve_worker(std::string(200, 'x'), {}), 2);
  const auto said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("empty"), std::string::npos);
  EXPECT_NE(said.find("shorter"), std::string::npos);
}

TEST(worker_server, a_node_that_was_never_there_is_gone) {
  char name[] = "/tmp/flywheel-nobody-XXXXXX";
  const std::string folder = mkdtemp(name);
  EXPECT_EQ(serve_worker(folder + "/nobody", {}), 70);
  std::filesystem::remove_all(folder);
}
