#include "actors/client/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

extern char** environ;

namespace flywheel {

using namespace std::chrono_literals;

result<child_process> child_process::start(std::vector<std::string> words, bool capture) {
  int pipe_ends[2] = {-1, -1};
  if (capture && ::pipe2(pipe_ends, O_CLOEXEC) != 0)
    return error_from_errno(errno, "pipe for " + words[0]);
  std::vector<char*> argv;
  for (auto& w : words)
    argv.push_back(w.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  if (capture)
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  child_process child;
  const int code = ::posix_spawnp(&child.pid_, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (capture)
    ::close(pipe_ends[1]);
  child.output_ = pipe_ends[0];
  if (code != 0) {
    child.pid_ = -1;
    if (code == ENOENT)
      return error{errc::not_found, "there is no program '" + words[0] + "' in PATH"};
    return error_from_errno(code, "starting " + words[0]);
  }
  child.watch_ = static_cast<int>(::syscall(SYS_pidfd_open, child.pid_, 0));
  return child;
}

child_process::child_process(child_process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), watch_(std::exchange(other.watch_, -1)), output_(std::exchange(other.output_, -1)), unread_(std::move(other.unread_)),
      status_(other.status_) {}

child_process::~child_process() {
  if (pid_ > 0 && !wait_for(0s)) {
    signal(SIGTERM);
    if (!wait_for(5s))
      signal(SIGKILL);
    (void)wait();
  }
  for (const int fd : {watch_, output_})
    if (fd >= 0)
      ::close(fd);
}

std::optional<std::string> child_process::read_line() {
  char buffer[4096];
  auto end = unread_.find('\n');
  while (end == std::string::npos && output_ >= 0) {
    const auto n = ::read(output_, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      break;
    unread_.append(buffer, static_cast<std::size_t>(n));
    end = unread_.find('\n');
  }
  if (unread_.empty())
    return std::nullopt;
  std::string line = unread_.substr(0, end);
  unread_.erase(0, end == std::string::npos ? end : end + 1);
  return line;
}

std::optional<int> child_process::wait_for(nanoseconds wait) {
  const auto until = system_clock().mono() + wait;
  while (!status_) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      break;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - system_clock().mono());
    if (left <= 0ms)
      return std::nullopt;
    pollfd ended{watch_, POLLIN, 0};
    (void)::poll(&ended, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
  }
  return status_;
}

int child_process::wait() {
  for (;;)
    if (const auto status = wait_for(60s))
      return *status;
}

void child_process::signal(int number) const {
  if (!status_)
    ::kill(pid_, number);
}

} // namespace flywheel
