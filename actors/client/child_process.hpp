#pragma once
// A child in the foreground: it shares our process group, terminal and standard error, and does not outlive its object.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"

#include <optional>
#include <string>
#include <vector>

namespace flywheel {

/// Not thread-safe. An exit status is as a shell's: the exit code, or 128 + the signal that ended it.
class child_process {
public:
  /// Finds words[0] in PATH if it holds no slash; not_found if it is nowhere. Standard input is /dev/null, standard output ours, or
  /// with `capture` what read_line returns.
  static result<child_process> start(std::vector<std::string> words, bool capture = false);
  child_process(child_process&& other) noexcept;
  child_process& operator=(child_process&&) = delete;
  /// Asks it to end (SIGTERM) if it still runs, insists (SIGKILL) after five seconds, and reaps it.
  ~child_process();

  int pid() const noexcept { return pid_; }
  /// Blocks for the next line of its output, without the newline; nothing at the end of it.
  std::optional<std::string> read_line();
  /// Its exit status if it ends within `wait`; nothing if it still runs.
  std::optional<int> wait_for(nanoseconds wait);
  /// Blocks until it ends.
  int wait();
  void signal(int number) const;

private:
  child_process() = default;
  int pid_ = -1, watch_ = -1, output_ = -1;
  std::string unread_;
  std::optional<int> status_;
};

} // namespace flywheel
