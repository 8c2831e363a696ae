// Jobs of a real Slurm on this machine: one slurmctld and three nodes, each in a PID namespace of its own. Needs root, and the
// packages slurm-wlm and munge; without them these tests are skipped by name.

#include "tests/process/flywheel_program.hpp"
#include "tests/process/promises.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/random.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/journal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <netinet/in.h>
#include <pwd.h>
#include <set>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;
using std::chrono::seconds;

namespace {

namespace fs = std::filesystem;

bool in_path(const std::string& program) { return std::system(("command -v " + program + " >/dev/null").c_str()) == 0; }

/// The first of four ports in a row that nobody has.
int free_ports() {
  random_source random{static_cast<std::uint64_t>(::getpid())};
  for (;;) {
    const int base = 20'000 + static_cast<int>(random.below(10'000));
    bool all = true;
    for (int port = base; port < base + 4 && all; ++port) {
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in at{};
      at.sin_family = AF_INET;
      at.sin_port = htons(static_cast<std::uint16_t>(port));
      at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      all = ::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0;
      ::close(fd);
    }
    if (all)
      return base;
  }
}

std::string text_of(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

class slurm : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    for (const char* program : {"slurmctld", "slurmd", "munged", "sbatch", "srun", "unshare"})
      if (!in_path(program))
        missing += std::string{missing.empty() ? "" : ", "} + program;
    if (::geteuid() != 0)
      missing += missing.empty() ? "root" : ", root";
    if (!missing.empty())
      return;
    std::string pattern = "/tmp/fw-slurm-XXXXXX";
    lab = ::mkdtemp(pattern.data());
    fs::permissions(lab, static_cast<fs::perms>(0755)); // of other users' jobs, too
    ::setenv("SLURM_CONF", (lab / "slurm.conf").c_str(), 1);
    ASSERT_EQ(script("up.sh", std::to_string(free_ports()) + " 3"), 0);
  }
  static void TearDownTestSuite() {
    if (lab.empty())
      return;
    EXPECT_EQ(script("down.sh", ""), 0);
    std::error_code ignored;
    fs::remove_all(lab, ignored);
  }
  void SetUp() override {
    if (!missing.empty())
      GTEST_SKIP() << "no Slurm here: " << missing << " is missing (deploy/setup.sh installs slurm-wlm and munge)";
  }

  static int script(const std::string& name, const std::string& arguments) {
    const int status = std::system((FLYWHEEL_SOURCE_DIR "/tests/process/slurm/" + name + " " + lab.string() + " " + arguments).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static std::vector<std::string> submit_words(const workshop& w, std::vector<std::string> options, const std::vector<std::string>& sbatch = {"--nodes=3", "--time=5"}) {
    std::vector<std::string> words{"slurm", "submit", w.goal.string(), "--approve"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back("--");
    words.insert(words.end(), sbatch.begin(), sbatch.end());
    return words;
  }
  /// The id of a job for the workshop's goal. (sbatch --wait looks only every half minute, so most tests do not use it.)
  static std::string submit(const workshop& w, std::vector<std::string> options = {}, const std::vector<std::string>& sbatch = {"--nodes=3", "--time=5"}) {
    options.insert(options.end(), {"-o", "name"});
    const auto submitted = run(w, submit_words(w, options, sbatch));
    EXPECT_EQ(submitted.exit_code, 0) << submitted.err;
    return submitted.out.substr(0, submitted.out.find('\n'));
  }
  static std::string output_of(const std::string& command) {
    std::string text(16 << 10, '\0');
    auto* f = ::popen(command.c_str(), "r");
    text.resize(f == nullptr ? 0 : std::fread(text.data(), 1, text.size(), f));
    if (f != nullptr)
      ::pclose(f);
    return text;
  }
  /// "COMPLETED 0:0" when Slurm calls it over; what it says now if that takes too long.
  static std::string end_of(const std::string& job, seconds at_most = seconds{60}) {
    std::string state;
    const auto field = [](const std::string& text, const std::string& name) {
      const auto at = text.find(name + "=");
      return at == std::string::npos ? std::string{} : text.substr(at + name.size() + 1, text.find_first_of(" \n", at) - at - name.size() - 1);
    };
    (void)eventually([&] {
      const auto text = output_of("scontrol -o show job " + job);
      state = field(text, "JobState") + " " + field(text, "ExitCode");
      return state.starts_with("COMPLETED") || state.starts_with("FAILED") || state.starts_with("CANCELLED") || state.starts_with("NODE_FAIL") || state.starts_with("TIMEOUT");
    }, at_most);
    return state;
  }
  /// What the workshop's jobs said.
  static std::string said(const workshop& w) {
    std::string all;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator{w.state / "log", none})
      if (entry.path().extension() == ".out")
        all += text_of(entry.path());
    return all;
  }
  static std::string job_of(const program& p) {
    const auto out = p.out();
    const auto at = out.rfind("job ");
    return at == std::string::npos ? "" : out.substr(at + 4, out.find(' ', at + 4) - at - 4);
  }
  static std::set<std::string> nodes_that_worked(const workshop& w) {
    std::set<std::string> names;
    for (const auto& e : w.journal())
      if (e.kind == event_kind::node_state && json::parse(e.body).value("state", "") == "alive")
        names.insert(e.subject);
    return names;
  }
  static std::size_t trials_over(const workshop& w) {
    std::size_t n = 0;
    for (const auto& e : w.journal())
      n += e.kind == event_kind::trial_state && json::parse(e.body).value("state", "") == "completed" ? 1 : 0;
    return n;
  }
  static void expect_nothing_left(const workshop& w) {
    EXPECT_TRUE(eventually([&] { return pids_with({w.root.string()}).empty(); }, seconds{15})) << said(w);
  }
  static void restart_node(const std::string& name) {
    EXPECT_EQ(script("node.sh", name), 0);
    EXPECT_TRUE(eventually([&] { return std::system(("sinfo -h -n " + name + " -o %T | grep -qx idle").c_str()) == 0; }, seconds{30}));
  }

  static inline fs::path lab;
  static inline std::string missing;
};

} // namespace

TEST_F(slurm, a_job_on_three_nodes_does_its_goal_and_leaves_nothing_behind) {
  workshop w;
  w.small_goal();
  EXPECT_EQ(end_of(submit(w)), "COMPLETED 0:0") << said(w);
  EXPECT_THAT(said(w), HasSubstr("ready: 3 nodes"));
  EXPECT_EQ(nodes_that_worked(w), (std::set<std::string>{"node2", "node3"})) << "besides the head";
  expect_one_goal_done_once(w);
  expect_nothing_left(w);
  for (const auto& entry : fs::recursive_directory_iterator{w.state / "certs"})
    if (entry.path().extension() == ".key") {
      EXPECT_EQ(entry.status().permissions(), static_cast<fs::perms>(0600)) << entry.path();
    }
  // The same goal again is done already: that is success too, and nothing is done twice.
  EXPECT_EQ(end_of(submit(w)), "COMPLETED 0:0") << said(w);
  expect_one_goal_done_once(w);
}

TEST_F(slurm, a_node_that_dies_costs_time_and_nothing_else) {
  workshop w;
  w.small_goal("", "0.80", 14);
  const auto job = submit(w);
  EXPECT_TRUE(eventually([&] { return nodes_that_worked(w).size() == 2 && trials_over(w) >= 2; }, seconds{60})) << said(w);
  EXPECT_EQ(::kill(std::stoi(text_of(lab / "run" / "node2.pid")), SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return said(w).find("goal is done") != std::string::npos; }, seconds{60})) << said(w);
  restart_node("node2"); // Slurm waits for it before it calls the job over
  EXPECT_EQ(end_of(job), "COMPLETED 0:0") << said(w);
  std::size_t dead = 0;
  for (const auto& e : w.journal())
    dead += e.kind == event_kind::node_state && e.subject == "node2" && json::parse(e.body).value("state", "") == "dead" ? 1 : 0;
  EXPECT_EQ(dead, 1U);
  expect_one_goal_done_once(w);
  expect_nothing_left(w);
}

TEST_F(slurm, near_its_time_limit_a_job_requeues_itself_and_the_next_allocation_goes_on) {
  workshop w;
  w.small_goal("", "0.80", 14);
  const auto job = submit(w);
  ASSERT_TRUE(eventually([&] { return trials_over(w) >= 2; }, seconds{60})) << said(w);
  ASSERT_EQ(std::system(("scancel --batch --signal=USR1 " + job).c_str()), 0); // as --signal=B:USR1@N does N seconds before the limit
  EXPECT_TRUE(eventually([&] { return said(w).find("restarted 1 times") != std::string::npos; }, seconds{60})) << said(w);
  EXPECT_EQ(end_of(job), "COMPLETED 0:0") << said(w);
  const auto text = said(w);
  EXPECT_THAT(text, HasSubstr("the time limit is near"));
  EXPECT_THAT(text, HasSubstr("job " + job + " is requeued"));
  EXPECT_THAT(text, HasSubstr("continuing goal small-"));
  expect_one_goal_done_once(w);
  expect_nothing_left(w);
}

TEST_F(slurm, without_scontrol_the_one_who_waits_submits_it_again) {
  workshop w;
  w.small_goal("", "0.80", 14);
  // A PATH without scontrol, for sbatch to hand on to the job.
  fs::create_directories(w.root / "bin");
  const std::string path = std::getenv("PATH");
  for (const char* program : {"sbatch", "srun"})
    fs::create_symlink(std::string{"/usr/bin/"} + program, w.root / "bin" / program);
  ::setenv("PATH", (w.root / "bin").c_str(), 1);
  program p{w, submit_words(w, {"--wait"})};
  ::setenv("PATH", path.c_str(), 1);
  ASSERT_TRUE(eventually([&] { return trials_over(w) >= 2; }, seconds{60})) << said(w);
  const auto job = job_of(p);
  ASSERT_EQ(std::system(("scancel --batch --signal=USR1 " + job).c_str()), 0);
  const auto ended = p.wait(seconds{90});
  EXPECT_EQ(ended.exit_code, 0) << ended.err << said(w);
  EXPECT_THAT(said(w), HasSubstr("there is no scontrol here"));
  EXPECT_THAT(said(w), HasSubstr("continuing goal small-"));
  EXPECT_NE(job_of(p), job) << "another job";
  expect_one_goal_done_once(w);
  expect_nothing_left(w);
}

TEST_F(slurm, by_its_own_clock_a_job_ends_with_the_exit_code_that_says_not_over) {
  workshop w;
  w.small_goal("", "0.80", 400);
  EXPECT_EQ(end_of(submit(w, {"--stop-after", "1s", "--no-requeue"}, {"--nodes=2", "--time=5"})), "FAILED 75:0") << said(w);
  EXPECT_THAT(said(w), HasSubstr("--stop-after is over"));
  EXPECT_THAT(said(w), Not(HasSubstr("requeued")));
  const auto verdict = verify_journal(w.state);
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(verdict->intact) << verdict->reason;
  EXPECT_EQ(w.count(event_kind::goal_submitted), 1U);
  expect_nothing_left(w);
}

TEST_F(slurm, a_cancelled_job_leaves_nothing_behind) {
  workshop w;
  w.small_goal("", "0.80", 400);
  const auto job = submit(w);
  ASSERT_TRUE(eventually([&] { return nodes_that_worked(w).size() == 2; }, seconds{60})) << said(w);
  EXPECT_FALSE(pids_with({w.root.string()}).empty());
  ASSERT_EQ(std::system(("scancel " + job).c_str()), 0);
  EXPECT_THAT(end_of(job), HasSubstr("CANCELLED"));
  expect_nothing_left(w);
}

TEST_F(slurm, the_clusters_of_two_users_share_nodes_and_nothing_else) {
  const auto* other = ::getpwnam("nobody");
  ASSERT_NE(other, nullptr);
  workshop mine, theirs;
  for (auto* w : {&mine, &theirs})
    w->small_goal();
  const auto become = "setpriv --reuid=" + std::to_string(other->pw_uid) + " --regid=" + std::to_string(other->pw_gid) + " --clear-groups ";
  // Where the source tree is closed to other users, both clusters are ours.
  const bool another_user = std::system((become + FLYWHEEL_PROGRAM + " version >/dev/null 2>&1").c_str()) == 0;
  for (const auto& file : {theirs.root, theirs.goal, theirs.root / "customers.csv"})
    ASSERT_EQ(another_user ? ::chown(file.c_str(), other->pw_uid, other->pw_gid) : 0, 0);
  const auto b = output_of((another_user ? become : std::string{}) + FLYWHEEL_PROGRAM + " slurm submit " + theirs.goal.string() + " --state " + theirs.state.string() +
                           " --approve -o name -- --nodes=3 --time=5 --chdir=/");
  const auto a = submit(mine);
  EXPECT_EQ(end_of(a), "COMPLETED 0:0") << said(mine);
  EXPECT_EQ(end_of(b.substr(0, b.find('\n'))), "COMPLETED 0:0") << said(theirs);
  for (const auto* w : {&mine, &theirs}) {
    EXPECT_EQ(nodes_that_worked(*w), (std::set<std::string>{"node2", "node3"}));
    expect_one_goal_done_once(*w);
    expect_nothing_left(*w);
  }
  struct stat s {};
  ASSERT_EQ(::stat((theirs.state / "journal.db").c_str(), &s), 0);
  EXPECT_EQ(s.st_uid, another_user ? other->pw_uid : 0U);
}

TEST_F(slurm, nodes_that_do_not_see_the_state_folder_get_certificates_and_files_over_the_network) {
  workshop w;
  w.small_goal();
  w.state = lab / "private" / "state"; // another folder on each node
  const auto rendered = run(w, {"slurm", "render", w.goal.string(), "--approve", "--", "--nodes=3"});
  ASSERT_EQ(rendered.exit_code, 0) << rendered.err;
  std::ofstream{w.root / "job.sh"} << rendered.out;
  const auto output = w.root / "job.out";
  const auto job = output_of("sbatch --parsable --output=" + output.string() + " " + (w.root / "job.sh").string());
  EXPECT_EQ(end_of(job.substr(0, job.find('\n')), seconds{120}), "COMPLETED 0:0") << text_of(output);
  EXPECT_THAT(text_of(output), HasSubstr("ready: 3 nodes"));
  EXPECT_THAT(text_of(output), HasSubstr("its files come over the network"));
  EXPECT_THAT(text_of(output), Not(HasSubstr("PRIVATE KEY")));
  expect_nothing_left(w);
  // Submitted from a machine whose state folder the first node does not see: there is no output to read.
  w.state = lab / "private" / "another";
  program p{w, submit_words(w, {"--wait"})};
  const auto ended = p.wait(seconds{60});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_THAT(ended.err, HasSubstr("its first node must see the state folder"));
}

TEST_F(slurm, what_slurm_refuses_is_no_job) {
  workshop w;
  w.small_goal();
  program p{w, submit_words(w, {}, {"--partition=nonesuch"})};
  const auto ended = p.wait(seconds{20});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.err, HasSubstr("sbatch refused the job"));
  EXPECT_EQ(ended.out, "");
}

TEST(slurm_commands, say_what_is_wrong_before_anything_is_submitted) {
  workshop w;
  w.small_goal();
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "/nowhere", 1);
  const auto nobody = run(w, {"slurm", "submit", w.goal.string()});
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(nobody.exit_code, 3);
  EXPECT_THAT(nobody.err, HasSubstr("no program 'sbatch' in PATH"));
  EXPECT_EQ(run(w, {"slurm", "boot", w.goal.string()}).exit_code, 2) << "not in a job";
  EXPECT_EQ(run(w, {"slurm", "node", "--join", "x:1"}).exit_code, 2);
  EXPECT_EQ(run(w, {"slurm", "submit", w.goal.string(), "--grace", "soon"}).exit_code, 2);
  w.state = w.goal / "state"; // in a file
  EXPECT_NE(run(w, {"slurm", "submit", w.goal.string()}).exit_code, 0);
  std::ofstream{w.goal} << "flywheel: 1\nname: small\n";
  w.state = w.root / "fresh";
  const auto invalid = run(w, {"slurm", "submit", w.goal.string()});
  EXPECT_EQ(invalid.exit_code, 2);
  EXPECT_FALSE(fs::exists(w.state)) << "checked before anything is written";
  EXPECT_EQ(run(w, {"slurm", "render", (w.root / "none.yaml").string()}).exit_code, 3);
}
