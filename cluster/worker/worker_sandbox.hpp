#pragma once
// What a worker may see of the file system, enforced by the kernel (Landlock, docs.kernel.org/userspace-api/landlock.html).
// The rules are prepared by the node, so that the child between fork and exec only has to switch them on.

#include "cluster/base/error.hpp"
#include "cluster/worker/worker_pool.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace flywheel {

/// Closes on destruction.
class owned_fd {
public:
  owned_fd() = default;
  explicit owned_fd(int fd) : fd_(fd) {}
  owned_fd(owned_fd&& other) noexcept : fd_(other.release()) {}
  owned_fd& operator=(owned_fd&& other) noexcept;
  ~owned_fd() { reset(); }
  int get() const noexcept { return fd_; }
  int release() noexcept;
  void reset() noexcept;
  explicit operator bool() const noexcept { return fd_ >= 0; }

private:
  int fd_ = -1;
};

/// The Landlock version of this kernel (1 or more), or why there is none.
result<int> landlock_version();

/// A ruleset for a worker started by `command`: `rules` plus what every program needs to start (libraries, /dev/null, /proc)
/// and the files that `command` names. not_found if one of the rules' paths does not exist.
/// Besides files it denies signals to and abstract sockets of processes outside the sandbox, where the kernel can (ABI 6).
result<owned_fd> make_ruleset(const sandbox_rules& rules, const std::vector<std::string>& command);

/// Confines the calling thread and its future children for ever. Async-signal-safe. 0, or errno.
int enter_ruleset(int ruleset_fd) noexcept;

} // namespace flywheel
