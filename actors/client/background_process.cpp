#include "actors/client/background_process.hpp"

#include "cluster/base/clock.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

extern char** environ;

namespace flywheel {

using namespace std::chrono_literals;

result<int> start_background(std::vector<std::string> words, const std::filesystem::path& log) {
  std::vector<char*> argv;
  for (auto& w : words)
    argv.push_back(w.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  pid_t pid = 0;
  const int code = ::posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (code != 0)
    return error_from_errno(code, "starting " + words[0]);
  return static_cast<int>(pid);
}

status wait_until_ready(int pid, const std::filesystem::path& log, const std::function<bool()>& ready) {
  const int watch = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  const auto until = system_clock().mono() + 30s;
  status out = error{errc::timed_out, "the background process did not answer within 30 s", log.string()};
  while (system_clock().mono() < until) {
    if (ready()) {
      out = success();
      break;
    }
    // Its end wakes us; its readiness sends nothing, so look again soon.
    pollfd ended{watch, POLLIN, 0};
    if (::poll(&ended, 1, 20) > 0) {
      out = error{errc::interrupted, "the background process ended at once", log.string(), "read its last lines there"};
      break;
    }
  }
  if (watch >= 0)
    ::close(watch);
  return out;
}

} // namespace flywheel
