// Nodes that do not share the head's files: each in a mount namespace of its own, in which the head's state folder and the data are hidden.

#include "tests/process/flywheel_program.hpp"
#include "tests/process/promises.hpp"

#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/journal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using nlohmann::json;
using std::chrono::seconds;

namespace {

namespace fs = std::filesystem;

int shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }

/// A head without slots, and two nodes of one slot each, "far1" and "far2", whose folders are beside the workshop.
class transfer_nodes : public ::testing::Test {
protected:
  void SetUp() override {
    if (::geteuid() != 0 || shell("unshare -m true") != 0)
      GTEST_SKIP() << "needs root and mount namespaces, to hide the head's files from its nodes";
    std::string pattern = "/tmp/fw-far-XXXXXX";
    far = ::mkdtemp(pattern.data());
    const auto ca = (w.root / "ca").string();
    ASSERT_EQ(run(w, {"certs", "init", "lab", "--dir", ca}).exit_code, 0);
    ASSERT_EQ(run(w, {"certs", "issue", "head", "--role", "node", "--dir", ca, "--to", (w.root / "head").string()}).exit_code, 0);
    for (const char* name : {"far1", "far2"})
      ASSERT_EQ(run(w, {"certs", "issue", name, "--role", "node", "--dir", ca, "--to", (far / name / "certs").string()}).exit_code, 0);
    start_head();
  }
  void TearDown() override {
    head.reset();
    for (const int pid : pids_with({far.string()}))
      ::kill(pid, SIGKILL);
    eventually([&] { return pids_with({far.string()}).empty(); }, seconds{20});
    if (!far.empty() && !(HasFailure() && std::getenv("FLYWHEEL_TEST_KEEP") != nullptr)) {
      std::error_code ignored;
      fs::remove_all(far, ignored);
    }
  }
  void start_head() {
    head.emplace(w, std::vector<std::string>{"node", "--head", "--listen", "127.0.0.1:0", "--certs", (w.root / "head").string(), "--slots", "0"});
    ASSERT_TRUE(eventually([&] { return fs::exists(w.state / "run" / "cluster.json"); }, seconds{30})) << head->err();
    address = json::parse(*read_file(w.state / "run" / "cluster.json", 4096)).value("address", "");
  }
  /// `before`: commands in the node's namespace. Everything of the head is under w.root, and hidden there.
  void start_node(const std::string& name, const std::string& before = {}, const std::string& options = {}) {
    const auto command = "mount -t tmpfs none " + w.root.string() + " && " + (before.empty() ? "" : before + " && ") + "exec " + FLYWHEEL_PROGRAM + " node --join " + address +
                         " --certs " + (far / name / "certs").string() + " --slots 1 --state " + (far / name / "state").string() + " " + options;
    ASSERT_EQ(std::system(("unshare -m --propagation private sh -c '" + command + "' >>" + (far / (name + ".log")).string() + " 2>&1 &").c_str()), 0);
  }
  json node(const std::string& name) const {
    const auto listed = run(w, {"nodes", "-o", "json"});
    if (listed.exit_code == 0)
      for (const auto& n : json::parse(listed.out))
        if (n.value("node", "") == name)
          return n;
    return json::object();
  }
  bool alive(const std::string& name) const { return node(name).value("state", "") == "alive" && node(name).value("slots", 0) == 1; }
  bool busy(const std::string& name) const { return node(name).value("busy", 0) > 0; }
  int pid_of(const std::string& name) const {
    const auto pids = pids_with({FLYWHEEL_PROGRAM, "--join", (far / name / "state").string()});
    for (const int pid : pids)
      if (fs::read_symlink("/proc/" + std::to_string(pid) + "/exe").filename() == "flywheel")
        return pid;
    ADD_FAILURE() << name << " does not run";
    return -1;
  }
  std::string log_of(const std::string& name) const {
    const auto text = read_file(far / (name + ".log"), 1 << 20);
    return text ? *text : std::string{};
  }
  std::uintmax_t bytes_in(const fs::path& folder) const {
    std::uintmax_t sum = 0;
    std::error_code code;
    for (fs::recursive_directory_iterator i{folder, code}, end; !code && i != end; i.increment(code))
      sum += i->is_regular_file() ? i->file_size() : 0;
    return sum;
  }
  void submit() {
    w.small_goal();
    const auto submitted = run(w, {"submit", w.goal.string(), "--approve"});
    ASSERT_EQ(submitted.exit_code, 0) << submitted.err;
  }
  void expect_done() {
    program watch{w, {"watch", "small"}};
    const auto watched = watch.wait(seconds{180});
    EXPECT_EQ(watched.exit_code, 0) << watched.err << "\n" << log_of("far1") << "\n" << log_of("far2");
    expect_one_goal_done_once(w);
  }
  /// Temporary names and jobs of leases that are over.
  void expect_nothing_left_behind() {
    EXPECT_TRUE(eventually([&] { return leftovers().empty(); }, seconds{20})) << leftovers();
  }
  std::string leftovers() const {
    std::string all;
    std::error_code code;
    for (const auto& folder : {w.state, far})
      for (fs::recursive_directory_iterator i{folder, code}, end; !code && i != end; i.increment(code))
        if (i->path().filename().string().find(".tmp-") != std::string::npos || i->path().parent_path().filename() == "jobs")
          all += i->path().string() + "\n";
    return all;
  }

  workshop w;
  fs::path far;
  std::optional<program> head;
  std::string address;
};

/// "trial rung" -> what it reported there, to the last digit.
std::map<std::string, std::string> reports_of(const workshop& w) {
  std::map<std::string, std::string> all;
  for (const auto& e : w.journal())
    if (e.kind == event_kind::trial_report) {
      const auto body = json::parse(e.body);
      all[e.subject + " " + body.value("rung", json{}).dump()] = body.value("value", json{}).dump() + " " + body.value("standard_error", json{}).dump();
    }
  return all;
}

} // namespace

TEST_F(transfer_nodes, a_goal_is_done_by_nodes_that_see_no_file_of_the_head_also_when_one_is_killed) {
  start_node("far1");
  start_node("far2");
  ASSERT_TRUE(eventually([&] { return alive("far1") && alive("far2"); }, seconds{30})) << log_of("far1");
  submit();
  ASSERT_TRUE(eventually([&] { return busy("far1") && busy("far2"); }, seconds{60})) << log_of("far1");
  EXPECT_TRUE(eventually([&] { return bytes_in(far / "far1" / "state" / "files" / "cache") > 0; }, seconds{30}));
  ::kill(pid_of("far1"), SIGKILL);
  ASSERT_TRUE(eventually([&] { return node("far1").value("state", "") == "dead"; }, seconds{20}));
  start_node("far1");
  expect_done();
  expect_nothing_left_behind();
  EXPECT_THAT(log_of("far2"), HasSubstr("come over the network"));
  // The same goal where everything is shared.
  workshop beside;
  beside.small_goal();
  const auto ran = run(beside, {"run", beside.goal.string(), "--approve", "--quiet"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const auto ours = reports_of(w), theirs = reports_of(beside);
  std::size_t common = 0; // which trials are stopped early depends on which ends first
  for (const auto& [what, value] : ours)
    if (const auto i = theirs.find(what); i != theirs.end()) {
      ++common;
      EXPECT_EQ(value, i->second) << what;
    }
  EXPECT_GE(common, 6U) << "every trial reports at its first rung in both";
}

TEST_F(transfer_nodes, a_node_whose_disk_is_full_hands_its_work_back_and_another_does_it) {
  // Room for its sockets and its count of incarnations, not for the data.
  start_node("far1", "mkdir -p " + (far / "far1" / "state").string() + " && mount -t tmpfs -o size=40k none " + (far / "far1" / "state").string());
  ASSERT_TRUE(eventually([&] { return alive("far1"); }, seconds{30})) << log_of("far1");
  submit();
  EXPECT_TRUE(eventually([&] { return log_of("far1").find("hands ") != std::string::npos; }, seconds{60})) << log_of("far1");
  EXPECT_THAT(log_of("far1"), HasSubstr("disk_full"));
  start_node("far2");
  expect_done();
  expect_nothing_left_behind();
}

TEST_F(transfer_nodes, the_cache_keeps_to_its_bound_and_says_what_does_not_fit) {
  start_node("far1", {}, "--cache 1KiB");
  ASSERT_TRUE(eventually([&] { return alive("far1"); }, seconds{30})) << log_of("far1");
  submit();
  EXPECT_TRUE(eventually([&] { return log_of("far1").find("--cache") != std::string::npos; }, seconds{60})) << log_of("far1");
  EXPECT_LE(bytes_in(far / "far1" / "state" / "files" / "cache"), 1024U);
  start_node("far2");
  expect_done();
}
