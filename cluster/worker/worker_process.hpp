#pragma once
// One worker's process: started confined and doomed to die with its node, watched through descriptors (no polling), killed
// with everything it started. Used by the pool's thread only: the kernel ends the workers when the thread that started them
// ends, not only when the process does.

#include "cluster/base/error.hpp"
#include "cluster/worker/worker_sandbox.hpp"
#include "cluster/worker/worker_table.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace flywheel {

struct worker_command {
  std::vector<std::string> arguments;                          ///< [0] is the program, looked up in PATH if it has no '/'
  std::vector<std::pair<std::string, std::string>> environment; ///< added to the harmless part of our own
  const sandbox_rules* sandbox = nullptr;                      ///< null: not confined
  std::uint64_t memory_max = 0;
  int lease_fd = -1;                                            ///< of a lease_page, which the child inherits; -1: none
};

class worker_process {
public:
  /// not_found, permission_denied, ... naming the program; nothing is left behind then.
  static result<worker_process> start(const worker_command& command);
  worker_process(worker_process&&) = default;
  worker_process& operator=(worker_process&&) = delete;
  /// The process must have been reaped; an assert otherwise.
  ~worker_process();

  int pid() const noexcept { return pid_; }
  /// Readable when the process has ended.
  int exit_fd() const noexcept { return exit_fd_.get(); }
  /// Readable when there is output; -1 after its end.
  int output_fd() const noexcept { return output_fd_.get(); }
  /// Takes what is there, never blocks; keeps the last lines.
  void read_output();
  /// SIGKILL to the process and everything in its group.
  void kill() noexcept;
  /// Sets the soft limit of what it may allocate from now on; 0 lifts it.
  void limit_memory(std::uint64_t bytes) noexcept;
  /// Resident bytes now; 0 if it has ended.
  std::uint64_t resident_bytes() const;
  /// After exit_fd() has become readable: kills what it left running, reaps it, and tells how it ended.
  worker_exit reap();
  /// Gives up on a process that was killed and does not die.
  void abandon() noexcept { reaped_ = true; }

private:
  worker_process() = default;
  int pid_ = 0;
  bool reaped_ = false;
  owned_fd exit_fd_, output_fd_;
  std::string output_; ///< tail
  std::uint64_t oom_kills_before_ = 0;
};

/// Resident bytes of this process.
std::uint64_t own_resident_bytes();

} // namespace flywheel
