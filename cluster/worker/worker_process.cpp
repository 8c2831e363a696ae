#include "cluster/worker/worker_process.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <csignal>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" char** environ;

namespace flywheel {
namespace {

constexpr std::size_t output_kept = 2048;

// Sanitizers map terabytes of shadow memory, which RLIMIT_DATA counts: under them only the resident size is watched.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool limits_allocation = false;
#else
constexpr bool limits_allocation = true;
#endif

/// The soft bound on private writable memory. The resident size is what is promised and watched; this only stops a worker
/// that would fill the machine between two looks. Threads' stacks and arenas count here without being used, hence the room.
rlim_t allocation_bound(std::uint64_t memory_max) {
  if (memory_max == 0 || !limits_allocation)
    return RLIM_INFINITY;
  return memory_max + memory_max / 4 + (std::uint64_t{256} << 20);
}

/// What a worker may inherit: enough to run any language, no credentials of the person who started the node.
bool is_harmless(std::string_view entry) {
  static constexpr std::string_view exact[] = {"PATH=",   "HOME=", "USER=",       "LOGNAME=",        "SHELL=",
                                               "TMPDIR=", "TZ=",   "LANG=",       "LD_LIBRARY_PATH=", "VIRTUAL_ENV=",
                                               "TERM=",   "NO_COLOR="};
  static constexpr std::string_view prefix[] = {"LC_",   "OMP_",  "OPENBLAS_", "MKL_",  "GOTO_",  "CUDA_", "NVIDIA_",
                                                "NCCL_", "GLOO_", "PYTHON",    "ASAN_", "UBSAN_", "TSAN_", "LSAN_"};
  const auto starts = [&](std::string_view p) { return entry.starts_with(p); };
  return std::any_of(std::begin(exact), std::end(exact), starts) || std::any_of(std::begin(prefix), std::end(prefix), starts);
}

std::string read_small_file(const char* path) {
  const owned_fd fd{open(path, O_RDONLY | O_CLOEXEC)};
  std::array<char, 16384> buffer{};
  const auto n = fd ? read(fd.get(), buffer.data(), buffer.size()) : -1;
  return n > 0 ? std::string(buffer.data(), static_cast<std::size_t>(n)) : std::string{};
}

/// How often the kernel has killed something for want of memory, since boot; 0 if it does not say.
std::uint64_t oom_kills() {
  // /proc/vmstat is longer than one page; the line is near its end, so read all of it.
  const owned_fd fd{open("/proc/vmstat", O_RDONLY | O_CLOEXEC)};
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; fd && (n = read(fd.get(), buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(n));
  const auto at = text.find("\noom_kill ");
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 10, nullptr, 10);
}

std::uint64_t resident_bytes_of(const std::string& statm_path) {
  const auto text = read_small_file(statm_path.c_str());
  const auto space = text.find(' ');
  if (space == std::string::npos)
    return 0;
  return std::strtoull(text.c_str() + space, nullptr, 10) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos)
    return name;
  const char* path = std::getenv("PATH");
  for (const auto folder : split(path ? path : "/usr/bin:/bin", ':')) {
    const auto candidate = std::string(folder) + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0)
      return candidate;
  }
  return error{errc::not_found, "the worker program " + printable(name), {}, "give its full path, or put it into PATH"};
}

/// What the child tells when it could not become the worker.
struct child_failure {
  enum step : int { group, death_signal, streams, sandbox, program } where;
  int errno_value;
};
constexpr const char* step_names[] = {"giving it a process group", "tying it to its node", "redirecting its output",
                                      "entering its sandbox", "starting the program"};

struct child_plan {
  const char* program;
  char* const* arguments;
  char* const* environment;
  int null_fd, output_fd, failure_fd, ruleset_fd;
  pid_t node;
  rlim_t allocation_max;
  int lease_fd;
};

/// Runs between fork and exec in a process that had threads: async-signal-safe calls only, no allocation.
[[noreturn]] void become_worker(const child_plan& plan) noexcept {
  const auto give_up = [&](child_failure::step where) {
    const child_failure failure{where, errno};
    [[maybe_unused]] const auto n = write(plan.failure_fd, &failure, sizeof failure);
    _exit(127);
  };
  if (setpgid(0, 0) != 0)
    give_up(child_failure::group);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
    give_up(child_failure::death_signal);
  if (getppid() != plan.node) // the node died before the line above
    _exit(127);
  for (int s = 1; s < NSIG; ++s)
    signal(s, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (dup2(plan.null_fd, 0) < 0 || dup2(plan.output_fd, 1) < 0 || dup2(plan.output_fd, 2) < 0)
    give_up(child_failure::streams);
  // Every other descriptor of the node (journal, sockets, other workers' pipes) closes at exec.
  if (syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) != 0)
    for (int fd = 3; fd < 4096; ++fd)
      fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (plan.lease_fd >= 0)
    fcntl(plan.lease_fd, F_SETFD, 0);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (plan.allocation_max != RLIM_INFINITY) {
    const rlimit data{plan.allocation_max, RLIM_INFINITY};
    setrlimit(RLIMIT_DATA, &data);
  }
  // If the machine runs out of memory the kernel should take a worker, not the node.
  if (const int fd = open("/proc/self/oom_score_adj", O_WRONLY); fd >= 0) {
    [[maybe_unused]] const auto n = write(fd, "500", 3);
    close(fd);
  }
  if (plan.ruleset_fd >= 0) {
    if (const int e = enter_ruleset(plan.ruleset_fd); e != 0) {
      errno = e;
      give_up(child_failure::sandbox);
    }
  }
  execve(plan.program, plan.arguments, plan.environment);
  give_up(child_failure::program);
  _exit(127);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (auto& t : texts)
    pointers.push_back(t.data());
  pointers.push_back(nullptr);
  return pointers;
}

} // namespace

std::uint64_t own_resident_bytes() { return resident_bytes_of("/proc/self/statm"); }

result<worker_process> worker_process::start(const worker_command& command) {
  if (command.arguments.empty())
    return error{errc::invalid_argument, "the command of a worker is empty"};
  FLYWHEEL_TRY(const auto program, find_program(command.arguments.front()));

  owned_fd ruleset;
  if (command.sandbox) {
    auto resolved = command.arguments;
    resolved.front() = program;
    FLYWHEEL_TRY(ruleset, make_ruleset(*command.sandbox, resolved));
  }
  int output_pipe[2], failure_pipe[2];
  if (pipe2(output_pipe, O_CLOEXEC) != 0)
    return error_from_errno(errno, "making a pipe for a worker's output");
  owned_fd output_in{output_pipe[0]}, output_out{output_pipe[1]};
  fcntl(output_in.get(), F_SETFL, O_NONBLOCK);
  if (pipe2(failure_pipe, O_CLOEXEC) != 0)
    return error_from_errno(errno, "making a pipe to a worker");
  owned_fd failure_in{failure_pipe[0]}, failure_out{failure_pipe[1]};
  const owned_fd null{open("/dev/null", O_RDONLY | O_CLOEXEC)};
  if (!null)
    return error_from_errno(errno, "opening /dev/null");

  auto arguments = command.arguments;
  std::vector<std::string> environment;
  for (char** entry = environ; entry && *entry; ++entry)
    if (is_harmless(*entry))
      environment.emplace_back(*entry);
  for (const auto& [name, value] : command.environment)
    environment.push_back(name + "=" + value);
  const auto argument_pointers = pointers_to(arguments), environment_pointers = pointers_to(environment);
  const child_plan plan{program.c_str(),   argument_pointers.data(), environment_pointers.data(), null.get(),
                        output_out.get(),  failure_out.get(),        ruleset.get(),               getpid(),
                        allocation_bound(command.memory_max), command.lease_fd};

  worker_process p;
  p.oom_kills_before_ = oom_kills();
  // No signal handler of ours may run in the child before it has its own.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = fork();
  if (pid == 0)
    become_worker(plan);
  const int fork_errno = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    p.reaped_ = true;
    return error_from_errno(fork_errno, "starting a worker process");
  }
  p.pid_ = pid;
  failure_out.reset();
  output_out.reset();

  child_failure failure{};
  ssize_t n = 0;
  do
    n = read(failure_in.get(), &failure, sizeof failure); // ends at exec, within milliseconds
  while (n < 0 && errno == EINTR);
  p.exit_fd_ = owned_fd{static_cast<int>(syscall(SYS_pidfd_open, pid, 0))};
  const int pidfd_errno = errno;
  if (n == sizeof failure || !p.exit_fd_) {
    p.kill();
    (void)p.reap();
    if (n == sizeof failure)
      return error_from_errno(failure.errno_value,
                              std::string(step_names[failure.where]) + " of a worker: " + printable(program));
    return error_from_errno(pidfd_errno, "watching a worker process");
  }
  p.output_fd_ = std::move(output_in);
  return p;
}

worker_process::~worker_process() {
  FLYWHEEL_ASSERT(pid_ == 0 || reaped_ || !exit_fd_, "a worker process must be reaped by its pool");
}

void worker_process::read_output() {
  std::array<char, 4096> buffer{};
  // At most a few pages per turn: a worker that floods its output must not keep the pool's thread.
  for (int turn = 0; turn < 16 && output_fd_; ++turn) {
    const auto n = read(output_fd_.get(), buffer.data(), buffer.size());
    if (n > 0) {
      output_.append(buffer.data(), static_cast<std::size_t>(n));
      if (output_.size() > 2 * output_kept)
        output_.erase(0, output_.size() - output_kept);
    } else if (n == 0) {
      output_fd_.reset();
    } else {
      if (errno != EAGAIN && errno != EINTR)
        output_fd_.reset();
      return;
    }
  }
}

void worker_process::kill() noexcept {
  if (reaped_ || pid_ <= 0)
    return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL); // safe: not reaped, so the number is still its own
}

void worker_process::limit_memory(std::uint64_t bytes) noexcept {
  if (reaped_)
    return;
  const rlimit data{allocation_bound(bytes), RLIM_INFINITY};
  prlimit(pid_, RLIMIT_DATA, &data, nullptr);
}

std::uint64_t worker_process::resident_bytes() const {
  return reaped_ ? 0 : resident_bytes_of("/proc/" + std::to_string(pid_) + "/statm");
}

worker_exit worker_process::reap() {
  FLYWHEEL_ASSERT(!reaped_, "a process is reaped once");
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  ::kill(-pid_, SIGKILL); // what it started and left behind
  int state = 0;
  while (waitpid(pid_, &state, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
  read_output();
  worker_exit how;
  if (WIFSIGNALED(state))
    how.signal = WTERMSIG(state);
  else
    how.code = WEXITSTATUS(state);
  how.kernel_oom = oom_kills() > oom_kills_before_;
  std::vector<std::string> lines;
  for (const auto line : split(output_, '\n'))
    if (!trim(line).empty())
      lines.emplace_back(trim(line));
  // The last three lines hold what a library says before it aborts.
  if (lines.size() > 3)
    lines.erase(lines.begin(), lines.end() - 3);
  how.last_output = printable(join(lines, " | "), 500);
  return how;
}

} // namespace flywheel
