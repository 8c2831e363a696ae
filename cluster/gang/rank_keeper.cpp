#include "cluster/gang/rank_keeper.hpp"

#include "cluster/base/text.hpp"
#include "cluster/gang/rank_board.hpp"
#include "cluster/worker/lease_page.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace flywheel {
namespace {

constexpr std::size_t plan_bytes_max = 2 << 20;
constexpr int lease_look_ms = 50;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool limits_allocation = false; // shadow memory counts
#else
constexpr bool limits_allocation = true;
#endif

std::string read_all(int fd, std::size_t bytes_max) {
  std::string text;
  std::array<char, 16384> buffer;
  while (text.size() < bytes_max) {
    const auto n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  return text;
}

/// The number behind `key` in a file of lines "key number"; 0 if there is none.
std::uint64_t number_in(const std::string& path, std::string_view key) {
  const owned_fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd)
    return 0;
  const auto text = "\n" + read_all(fd.get(), 1 << 20);
  const auto at = text.find("\n" + std::string(key) + " ");
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + key.size() + 2, nullptr, 10);
}

/// Processes that the kernel killed for want of memory: in our control group where that is told, else on the whole machine.
class oom_counter {
public:
  oom_counter() {
    const owned_fd fd{::open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC)};
    const auto groups = fd ? read_all(fd.get(), 1 << 16) : std::string{};
    for (const auto line : split(groups, '\n')) {
      const auto parts = split(line, ':');
      if (parts.size() != 3)
        continue;
      if (parts[1].empty())
        consider("/sys/fs/cgroup" + std::string(parts[2]) + "/memory.events");
      else if (parts[1] == "memory")
        consider("/sys/fs/cgroup/memory" + std::string(parts[2]) + "/memory.oom_control");
    }
    if (path_.empty())
      path_ = "/proc/vmstat";
  }
  std::uint64_t now() const { return number_in(path_, "oom_kill"); }

private:
  void consider(const std::string& path) {
    const owned_fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (path_.empty() && fd && ("\n" + read_all(fd.get(), 1 << 16)).find("\noom_kill ") != std::string::npos)
      path_ = path;
  }
  std::string path_;
};

/// What a child tells when it could not become its rank; `where` indexes refusal_names.
struct refusal {
  std::int32_t where, number;
};

struct rank_start {
  const rank_plan* plan;
  char* const* arguments;
  char* const* environment;
  int board, out, err, null, failure;
  pid_t keeper;
  std::uint64_t memory_max;
};

/// Between fork and exec: async-signal-safe calls only, although the keeper has no other thread.
[[noreturn]] void become_rank(const rank_start& s) noexcept {
  const auto give_up = [&](std::int32_t where) {
    const refusal r{where, errno};
    [[maybe_unused]] const auto n = ::write(s.failure, &r, sizeof r);
    ::_exit(127);
  };
  if (::setpgid(0, 0) != 0)
    give_up(2);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
    give_up(3);
  if (::getppid() != s.keeper) // it died before the line above
    ::_exit(127);
  // The descriptors sit above those they are copied to: the keeper holds 0 to 3 itself.
  if (::dup2(s.null, 0) < 0 || ::dup2(s.out, 1) < 0 || ::dup2(s.err, 2) < 0 || ::dup2(s.board, rank_board_descriptor) < 0)
    give_up(4);
  if (::syscall(SYS_close_range, 4U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) != 0)
    for (int fd = 4; fd < 4096; ++fd)
      ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  const rlimit no_core{0, 0}; // writing out a rank's memory would keep its slot for minutes
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (s.memory_max > 0 && limits_allocation) {
    const rlimit data{s.memory_max, s.memory_max};
    ::setrlimit(RLIMIT_DATA, &data);
  }
  // If the machine runs out of memory the kernel should take a rank, not who watches it.
  if (const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY); fd >= 0) {
    [[maybe_unused]] const auto n = ::write(fd, "500", 3);
    ::close(fd);
  }
  if (!s.plan->folder.empty() && ::chdir(s.plan->folder.c_str()) != 0)
    give_up(5);
  for (int number = 1; number < NSIG; ++number)
    ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(s.plan->program.c_str(), s.arguments, s.environment);
  give_up(6);
  ::_exit(127);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (auto& t : texts)
    pointers.push_back(t.data());
  pointers.push_back(nullptr);
  return pointers;
}

class keeper {
public:
  keeper(int socket, std::string scratch) : socket_(socket), scratch_(std::move(scratch)) {}

  int run() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    ::setpgid(0, 0); // Ctrl-C on the terminal is the launcher's affair
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGQUIT, SIGUSR1, SIGUSR2})
      ::signal(number, SIG_IGN);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &children, nullptr);
    signals_ = owned_fd{::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK)};
    null_ = owned_fd{::fcntl(owned_fd{::open("/dev/null", O_RDWR | O_CLOEXEC)}.get(), F_DUPFD_CLOEXEC, 10)};
    const auto lease = lease_view::from_environment();
    if (!signals_ || !null_ || !lease)
      return 1;
    tell({});
    while (true) {
      pollfd ready[2]{{socket_, POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      if (::poll(ready, 2, *lease ? lease_look_ms : -1) < 0 && errno != EINTR)
        break;
      if (*lease && (*lease)->is_over(system_clock().mono()))
        break; // the launcher may be frozen: nobody else can end the ranks in time
      if (ready[1].revents != 0)
        reap();
      if (ready[0].revents != 0 && !take_order())
        break;
    }
    clear_for_good();
    if (!scratch_.empty()) {
      std::error_code ignored;
      std::filesystem::remove_all(scratch_, ignored);
    }
    return 0;
  }

private:
  struct child {
    int rank;
    std::uint64_t attempt, oom_before;
  };

  void tell(const keeper_news& news) { (void)!::send(socket_, &news, sizeof news, MSG_NOSIGNAL); }

  /// False when the launcher is gone.
  bool take_order() {
    keeper_order order;
    std::array<char, CMSG_SPACE(sizeof(int) * keeper_order_descriptors)> control{};
    iovec part{&order, sizeof order};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto n = ::recvmsg(socket_, &message, MSG_CMSG_CLOEXEC);
    if (n < 0)
      return errno == EINTR || errno == EAGAIN;
    if (n != sizeof order)
      return false;
    std::array<owned_fd, keeper_order_descriptors> given;
    if (const auto* c = CMSG_FIRSTHDR(&message); c != nullptr && c->cmsg_type == SCM_RIGHTS) {
      const auto count = std::min<std::size_t>((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), keeper_order_descriptors);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
        given[i] = owned_fd{fd};
      }
    }
    switch (order.kind) {
    case keeper_order::start: start(order, given); break;
    case keeper_order::kill_all:
      clearing_ = order.attempt;
      for (const auto& [pid, c] : ranks_)
        ::kill(-pid, SIGKILL);
      reap();
      break;
    case keeper_order::signal_all:
      for (const auto& [pid, c] : ranks_)
        ::kill(-pid, order.signal);
      break;
    }
    return true;
  }

  void start(const keeper_order& order, const std::array<owned_fd, keeper_order_descriptors>& given) {
    keeper_news news;
    news.rank = order.rank;
    news.attempt = order.attempt;
    const auto refuse = [&](int where, int number) {
      news.kind = keeper_news::refused;
      news.where = where;
      news.number = number;
      tell(news);
    };
    const auto text = given[0] ? read_all(given[0].get(), plan_bytes_max) : std::string{};
    auto plan = decode_plan(text);
    if (!plan || !given[3])
      return refuse(0, EPROTO);
    // dup2 onto 0 to 3 must not hit a descriptor that is still needed.
    std::array<owned_fd, 3> high;
    for (std::size_t i = 0; i < 3; ++i)
      high[i] = owned_fd{::fcntl(given[i + 1].get(), F_DUPFD_CLOEXEC, 10)};
    int ends[2];
    if (!high[2] || ::pipe2(ends, O_CLOEXEC) != 0)
      return refuse(1, errno);
    const owned_fd failure_in{ends[0]};
    owned_fd failure_out{::fcntl(owned_fd{ends[1]}.get(), F_DUPFD_CLOEXEC, 10)};
    plan->environment.push_back(std::string(rank_board_variable) + "=/proc/self/fd/" + std::to_string(rank_board_descriptor));
    const auto arguments = pointers_to(plan->arguments), environment = pointers_to(plan->environment);
    const rank_start s{&*plan,          arguments.data(), environment.data(), high[0].get(), high[1].get(), high[2].get(),
                       null_.get(), failure_out.get(), ::getpid(),        order.memory_max};
    const auto oom_before = oom_.now();
    const pid_t pid = ::fork();
    if (pid == 0)
      become_rank(s);
    if (pid < 0)
      return refuse(1, errno);
    failure_out.reset();
    refusal why{};
    ssize_t n = 0;
    do
      n = ::read(failure_in.get(), &why, sizeof why); // ends at exec
    while (n < 0 && errno == EINTR);
    if (n == sizeof why) {
      while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
      return refuse(why.where, why.number);
    }
    ranks_[pid] = {order.rank, order.attempt, oom_before};
    news.kind = keeper_news::started;
    news.pid = pid;
    tell(news);
  }

  /// Takes every process that has ended; tells of ranks; goes on clearing.
  void reap() {
    signalfd_siginfo ignored;
    while (::read(signals_.get(), &ignored, sizeof ignored) > 0) {
    }
    bool has_children = true;
    while (true) {
      int state = 0;
      rusage used{};
      const pid_t pid = ::wait4(-1, &state, WNOHANG, &used);
      if (pid < 0 && errno == EINTR)
        continue;
      if (pid <= 0) {
        has_children = pid == 0;
        break;
      }
      const auto at = ranks_.find(pid);
      if (at == ranks_.end())
        continue;
      keeper_news news;
      news.kind = keeper_news::ended;
      news.rank = at->second.rank;
      news.attempt = at->second.attempt;
      news.pid = pid;
      news.number = state;
      news.kernel_oom = oom_.now() > at->second.oom_before ? 1 : 0;
      news.peak_bytes = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
      ranks_.erase(at);
      tell(news);
    }
    if (clearing_ == 0)
      return;
    if (has_children) {
      kill_children();
      return;
    }
    keeper_news news;
    news.kind = keeper_news::cleared;
    news.attempt = std::exchange(clearing_, 0);
    tell(news);
  }

  /// SIGKILL to every child. What they leave behind becomes a child of ours (subreaper) and is met the next time: each death is a
  /// SIGCHLD. A child's number stays its own until we reap it, so nobody else can be hit.
  static void kill_children() {
    DIR* processes = ::opendir("/proc");
    if (processes == nullptr)
      return;
    const auto self = std::to_string(::getpid());
    while (const dirent* entry = ::readdir(processes)) {
      int pid = 0;
      const std::string_view name{entry->d_name};
      if (const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), pid); code != std::errc{} || end != name.data() + name.size())
        continue;
      const owned_fd fd{::open(("/proc/" + std::string(name) + "/stat").c_str(), O_RDONLY | O_CLOEXEC)};
      const auto stat = fd ? read_all(fd.get(), 4096) : std::string{};
      const auto paren = stat.rfind(") "); // the name before it may hold anything
      if (paren == std::string::npos)
        continue;
      const auto fields = split(std::string_view(stat).substr(paren + 2), ' ');
      if (fields.size() > 1 && fields[1] == self && fields[0] != "Z")
        ::kill(pid, SIGKILL);
    }
    ::closedir(processes);
  }

  void clear_for_good() {
    for (const auto& [pid, c] : ranks_)
      ::kill(-pid, SIGKILL);
    while (true) {
      kill_children();
      const pid_t pid = ::waitpid(-1, nullptr, 0);
      if (pid < 0 && errno == ECHILD)
        return;
    }
  }

  const int socket_;
  const std::string scratch_;
  owned_fd signals_, null_;
  oom_counter oom_;
  std::map<pid_t, child> ranks_;
  std::uint64_t clearing_ = 0; ///< the attempt, or 0
};

} // namespace

result<std::string> encode_plan(const std::string& program, const rank_command& command) {
  std::string text;
  bool has_zero = false;
  const auto put = [&](const std::string& s) {
    has_zero |= s.find('\0') != std::string::npos;
    text += s;
    text += '\0';
  };
  put(program);
  put(command.folder);
  put(std::to_string(command.arguments.size()));
  for (const auto& a : command.arguments)
    put(a);
  for (const auto& e : command.environment)
    put(e);
  if (has_zero)
    return error{errc::invalid_argument, "an argument or variable of a rank holds a zero byte"};
  if (text.size() > plan_bytes_max)
    return error{errc::too_large, "the arguments and variables of a rank have " + format_bytes(text.size()) + "; 2 MiB are allowed"};
  return text;
}

std::optional<rank_plan> decode_plan(std::string_view text) {
  if (text.empty() || text.back() != '\0')
    return std::nullopt;
  text.remove_suffix(1);
  const auto parts = split(text, '\0');
  std::size_t count = 0;
  if (parts.size() < 3 || std::from_chars(parts[2].data(), parts[2].data() + parts[2].size(), count).ec != std::errc{} || count == 0 ||
      count > parts.size() - 3)
    return std::nullopt;
  rank_plan plan{std::string(parts[0]), std::string(parts[1]), {}, {}};
  for (std::size_t i = 3; i < parts.size(); ++i)
    (i < 3 + count ? plan.arguments : plan.environment).emplace_back(parts[i]);
  return plan;
}

int keep_ranks(int socket, const std::string& scratch) { return keeper{socket, scratch}.run(); }

} // namespace flywheel
