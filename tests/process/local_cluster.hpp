#pragma once
// Several node processes of one cluster on this machine.

#include "tests/process/flywheel_program.hpp"
#include "tests/process/promises.hpp"

#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>

namespace flywheel::testing {

/// `flywheel up --local N` in a workshop; whatever is left of it ends with the test.
class local_cluster {
public:
  explicit local_cluster(int nodes) {
    const auto up = run(w, {"up", "--local", std::to_string(nodes), "--slots", "1"});
    EXPECT_EQ(up.exit_code, 0) << up.err;
    const auto file = read_file(w.state / "run" / "cluster.json", 4096);
    EXPECT_TRUE(file);
    if (file)
      address = nlohmann::json::parse(*file).value("address", "");
  }
  ~local_cluster() {
    for (const int pid : pids_with({w.root.string()})) {
      ::kill(pid, SIGKILL);
      ::kill(pid, SIGCONT);
    }
    EXPECT_TRUE(eventually([&] { return pids_with({w.root.string()}).empty(); }, std::chrono::seconds{20}));
  }
  /// Of the head, or of node N.
  int pid_of(const std::string& name) const {
    const auto pids = name == "head" ? pids_with({w.root.string(), "--head"}) : pids_with({w.root.string(), "--join", "certs/" + name + " "});
    EXPECT_EQ(pids.size(), 1U) << name;
    return pids.empty() ? -1 : pids[0];
  }
  nlohmann::json nodes() const {
    const auto listed = run(w, {"nodes", "-o", "json"});
    return listed.exit_code == 0 ? nlohmann::json::parse(listed.out) : nlohmann::json::array();
  }
  std::string state_of(const std::string& name) const {
    for (const auto& n : nodes())
      if (n.value("node", "") == name)
        return n.value("state", "");
    return "unknown";
  }
  /// The node on which `agent` lives; "?" if none says so.
  std::string home_of(const std::string& agent) const {
    for (const auto& n : nodes())
      for (const auto& a : n.value("agents", nlohmann::json::array()))
        if (a == agent)
          return n.value("node", "");
    return "?";
  }
  bool all_busy() const {
    const auto all = nodes();
    return !all.empty() && std::all_of(all.begin(), all.end(), [](const auto& n) { return n.value("busy", 0) > 0; });
  }
  std::string certs(const std::string& who) const { return (w.state / "certs" / who).string(); }
  /// How often the journal says that node `name` came into `state`.
  std::size_t times(const std::string& name, const std::string& state) const {
    std::size_t n = 0;
    for (const auto& e : w.journal())
      n += e.kind == event_kind::node_state && e.subject == name && nlohmann::json::parse(e.body).value("state", "") == state ? 1 : 0;
    return n;
  }
  /// How often a node's connection broke.
  std::size_t broken(const std::string& name) const {
    std::size_t n = 0;
    for (const auto& e : w.journal())
      n += e.kind == event_kind::node_state && e.subject == name && nlohmann::json::parse(e.body).value("reason", "").find("connection closed") != std::string::npos ? 1 : 0;
    return n;
  }
  void submit() {
    w.small_goal();
    const auto submitted = run(w, {"submit", w.goal.string(), "--approve"});
    EXPECT_EQ(submitted.exit_code, 0) << submitted.err;
  }
  void expect_done() const {
    program watch{w, {"watch", "small"}};
    const auto watched = watch.wait(std::chrono::seconds{90});
    EXPECT_EQ(watched.exit_code, 0) << watched.err;
    expect_one_goal_done_once(w);
  }

  workshop w;
  std::string address;
};

} // namespace flywheel::testing
