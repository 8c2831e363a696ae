#include "tests/process/flywheel_program.hpp"

#include "cluster/journal/journal.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

extern char** environ;

namespace flywheel::testing {
namespace {

std::string slurp(const std::filesystem::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

workshop::workshop() {
  std::string pattern = "/tmp/fw-test-XXXXXX";
  root = ::mkdtemp(pattern.data());
  state = root / "state";
  goal = root / "goal.yaml";
}

workshop::~workshop() {
  if (::testing::Test::HasFailure() && std::getenv("FLYWHEEL_TEST_KEEP") != nullptr) {
    std::fprintf(stderr, "kept for you: %s\n", root.c_str());
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(root, ignored);
}

void workshop::small_goal(const std::string& extra, const std::string& threshold, int trials) {
  std::ifstream all{FLYWHEEL_SOURCE_DIR "/examples/churn/churn.csv"};
  std::ofstream some{root / "customers.csv"};
  std::string line;
  for (int i = 0; i <= 900 && std::getline(all, line); ++i)
    some << line << '\n';
  some.close();
  std::ofstream{goal} << "flywheel: 1\n"
                         "name: small\n"
                         "data:\n"
                         "  source: customers.csv\n"
                         "  split: {strategy: tail, holdout_rows: 300}\n"
                         "target: churn\n"
                         "metric: accuracy >= " << threshold << "\n"
                         "search:\n"
                         "  families: [gbt]\n"
                         "  folds: 3\n"
                         "  budget: {trials: " << trials << ", wall_time: 300s, slot_seconds: 600}\n" << extra;
}

std::vector<event> workshop::journal() const {
  auto reader = journal_reader::open(state);
  if (!reader)
    return {};
  auto events = reader->read(journal_filter{});
  return events ? *events : std::vector<event>{};
}

std::size_t workshop::count(event_kind kind, const std::string& key) const {
  std::size_t n = 0;
  for (const auto& e : journal())
    n += e.kind == kind && (key.empty() || e.key == key) ? 1 : 0;
  return n;
}

program::program(const workshop& w, std::vector<std::string> arguments) {
  static int number = 0;
  const auto name = std::to_string(++number);
  out_ = w.root / ("out-" + name);
  err_ = w.root / ("err-" + name);
  arguments.insert(arguments.begin(), {FLYWHEEL_PROGRAM, "--state", w.state.string()});
  std::vector<char*> argv;
  for (auto& a : arguments)
    argv.push_back(a.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&files, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (::posix_spawn(&pid_, FLYWHEEL_PROGRAM, &files, nullptr, argv.data(), environ) != 0)
    ADD_FAILURE() << "cannot start " << FLYWHEEL_PROGRAM;
  posix_spawn_file_actions_destroy(&files);
}

program::~program() {
  if (running()) {
    signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

void program::signal(int number) const { ::kill(pid_, number); }

bool program::running() {
  if (!ended_ && ::waitpid(pid_, &status_, WNOHANG) == pid_)
    ended_ = true;
  return !ended_;
}

program_end program::wait(std::chrono::seconds at_most) {
  if (!eventually([&] { return !running(); }, at_most)) {
    ADD_FAILURE() << "still running after " << at_most.count() << " s:\n" << slurp(err_);
    signal(SIGKILL);
    ::waitpid(pid_, &status_, 0);
    ended_ = true;
  }
  return {WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_), slurp(out_), slurp(err_)};
}

std::string program::out() const { return slurp(out_); }
std::string program::err() const { return slurp(err_); }

program_end run(const workshop& w, std::vector<std::string> arguments) {
  program p{w, std::move(arguments)};
  return p.wait();
}

bool eventually(const std::function<bool()>& condition, std::chrono::seconds at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{10}); // another process's state has no event to wait on
  }
  return true;
}

std::vector<int> children_of(int pid, const std::string& word) {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    const auto name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos)
      continue;
    std::istringstream stat{slurp(entry.path() / "stat")};
    const auto text = stat.str();
    const auto close = text.rfind(')');
    if (close == std::string::npos)
      continue;
    std::istringstream rest{text.substr(close + 1)};
    char process_state = 0;
    int parent = 0;
    rest >> process_state >> parent;
    if (parent == pid && slurp(entry.path() / "cmdline").find(word) != std::string::npos)
      found.push_back(std::stoi(name));
  }
  return found;
}

std::vector<int> pids_with(const std::vector<std::string>& words) {
  std::vector<int> pids;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    const auto name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos)
      continue;
    std::ifstream in{entry.path() / "cmdline", std::ios::binary};
    std::string line{std::istreambuf_iterator<char>{in}, {}};
    for (auto& c : line)
      c = c == '\0' ? ' ' : c;
    if (!line.empty() && std::all_of(words.begin(), words.end(), [&](const auto& w) { return line.find(w) != std::string::npos; }))
      pids.push_back(std::stoi(name));
  }
  return pids;
}

} // namespace flywheel::testing
