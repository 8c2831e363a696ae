#pragma once
// `flywheel` as a child process, and a small goal to run it on.

#include "cluster/journal/event.hpp"

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace flywheel::testing {

/// A temporary folder with a state directory, data and a goal; removed with everything that still runs in it. With
/// FLYWHEEL_TEST_KEEP set, that of a failed test stays.
class workshop {
public:
  workshop();
  ~workshop();
  std::filesystem::path root, state, goal;

  /// The first `rows` customers of the churn data, and a goal with a budget of seconds on them. `extra` is YAML to add.
  void small_goal(const std::string& extra = {}, const std::string& threshold = "0.80", int trials = 6);
  std::vector<event> journal() const;
  /// How many events of `kind` have this key (any key if empty).
  std::size_t count(event_kind kind, const std::string& key = {}) const;
};

struct program_end {
  int exit_code = -1;      ///< -signal if killed
  std::string out, err;
};

class program {
public:
  /// Starts `flywheel --state STATE ARGUMENTS`; output goes to files.
  program(const workshop& w, std::vector<std::string> arguments);
  ~program(); ///< kills it
  int pid() const noexcept { return pid_; }
  void signal(int number) const;
  /// Waits for its end; kills it and fails the test if that takes longer.
  program_end wait(std::chrono::seconds at_most = std::chrono::seconds{240});
  bool running();
  std::string out() const;
  std::string err() const;

private:
  int pid_ = -1;
  std::filesystem::path out_, err_;
  int status_ = 0;
  bool ended_ = false;
};

program_end run(const workshop& w, std::vector<std::string> arguments);
/// Polls `condition` until it holds; false after `at_most`.
bool eventually(const std::function<bool()>& condition, std::chrono::seconds at_most = std::chrono::seconds{120});
/// Children of `pid` whose command line contains `word`.
std::vector<int> children_of(int pid, const std::string& word);
/// Processes whose command line contains every word.
std::vector<int> pids_with(const std::vector<std::string>& words);

} // namespace flywheel::testing
