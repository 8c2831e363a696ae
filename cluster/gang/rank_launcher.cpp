#include "cluster/gang/rank_launcher.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"
#include "cluster/gang/rank_keeper.hpp"
#include "cluster/worker/lease_page.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" char** environ;

namespace flywheel {
namespace {

constexpr std::size_t line_bytes_max = 8192, lines_kept = 3;
constexpr int leave_keeper_after_ms = 30'000;
constexpr std::size_t read_turns_max = 16; ///< a rank that floods its output must not keep us from the others

// What an event is about, in epoll's 64 bits.
constexpr std::uint64_t from_keeper = 1, from_keeper_exit = 2, from_timer = 3, from_ranks = 16;

result<std::string> find_program(const std::string& name) {
  if (name.empty())
    return error{errc::invalid_argument, "the command of a rank is empty"};
  if (name.find('/') != std::string::npos)
    return name;
  const char* path = std::getenv("PATH");
  for (const auto folder : split(path ? path : "/usr/bin:/bin", ':')) {
    const auto candidate = (folder.empty() ? "." : std::string(folder)) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0)
      return candidate;
  }
  return error{errc::not_found, "the program " + printable(name) + " is not in PATH", {}, "give its full path"};
}

result<owned_fd> memory_file(const std::string& text) {
  owned_fd fd{::memfd_create("flywheel-rank-plan", MFD_CLOEXEC)};
  std::size_t at = 0;
  while (fd && at < text.size()) {
    const auto n = ::write(fd.get(), text.data() + at, text.size() - at);
    if (n < 0)
      return error_from_errno(errno, "writing the plan of a rank");
    at += static_cast<std::size_t>(n);
  }
  if (!fd || ::lseek(fd.get(), 0, SEEK_SET) != 0)
    return error_from_errno(errno, "making the plan of a rank");
  return fd;
}

bool is_stopped(int pid) {
  const owned_fd fd{::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC)};
  std::array<char, 512> buffer{};
  const auto n = fd ? ::read(fd.get(), buffer.data(), buffer.size()) : -1;
  const std::string_view text{buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
  const auto at = text.rfind(") "); // the name before it may hold anything
  return at != std::string_view::npos && at + 2 < text.size() && (text[at + 2] == 'T' || text[at + 2] == 't');
}

void watch(int epoll, int fd, std::uint64_t what) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = what;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

} // namespace

result<std::unique_ptr<rank_launcher>> rank_launcher::start(rank_launcher_options options, rank_output output) {
  FLYWHEEL_ASSERT(!options.keeper_command.empty(), "a launcher knows its keeper's program");
  std::unique_ptr<rank_launcher> l{new rank_launcher};
  l->options_ = std::move(options);
  l->output_ = std::move(output);
  FLYWHEEL_CHECK(l->begin());
  return l;
}

status rank_launcher::begin() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return error_from_errno(errno, "making a socket to the keeper of ranks");
  keeper_ = owned_fd{ends[0]};
  const owned_fd theirs{ends[1]};
  FLYWHEEL_TRY(const auto program, find_program(options_.keeper_command.front()));
  auto arguments = options_.keeper_command;
  arguments.push_back(options_.scratch);
  std::vector<std::string> variables{"FLYWHEEL_KEEPER=1", "OPENBLAS_NUM_THREADS=1"}; // a library's threads have nothing to do there
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    if (const std::string_view e{*entry}; e.starts_with("PATH=") || e.starts_with("LD_LIBRARY_PATH=") || e.starts_with("ASAN_") || e.starts_with("UBSAN_"))
      variables.emplace_back(e);
  if (options_.lease_fd >= 0)
    variables.push_back(std::string(lease_page_variable) + "=" + std::to_string(keeper_lease_descriptor));
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> all;
    for (auto& t : texts)
      all.push_back(t.data());
    all.push_back(nullptr);
    return all;
  };
  const auto argv = pointers(arguments), envp = pointers(variables);
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before); // no handler of ours may run in the child
  const pid_t pid = ::fork();
  if (pid == 0) { // async-signal-safe calls only
    for (int number = 1; number < NSIG; ++number)
      ::signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const bool has_socket = ::dup2(theirs.get(), 0) >= 0; // its standard input is the socket
    if (options_.lease_fd == keeper_lease_descriptor)
      ::fcntl(keeper_lease_descriptor, F_SETFD, 0);
    else if (options_.lease_fd >= 0 && ::dup2(options_.lease_fd, keeper_lease_descriptor) < 0)
      ::_exit(127);
    if (has_socket)
      ::execve(program.c_str(), argv.data(), envp.data());
    ::_exit(127);
  }
  const int fork_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0)
    return error_from_errno(fork_errno, "starting the keeper of ranks");
  keeper_pid_ = pid;
  keeper_exit_ = owned_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  events_ = owned_fd{::epoll_create1(EPOLL_CLOEXEC)};
  timer_ = owned_fd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  if (!keeper_exit_ || !events_ || !timer_)
    return error_from_errno(errno, "watching the keeper of ranks");
  watch(events_.get(), keeper_.get(), from_keeper);
  watch(events_.get(), keeper_exit_.get(), from_keeper_exit);
  watch(events_.get(), timer_.get(), from_timer);
  return success();
}

rank_launcher::~rank_launcher() {
  if (keeper_pid_ == 0)
    return;
  keeper_.reset(); // the keeper sees that, kills and reaps everything, and ends
  // A process in a driver may not die of SIGKILL; the keeper goes on waiting for it, we do not.
  pollfd ended{keeper_exit_.get(), POLLIN, 0};
  while (::poll(&ended, 1, leave_keeper_after_ms) < 0 && errno == EINTR) {
  }
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(keeper_pid_), &info, WEXITED | WNOHANG);
}

void rank_launcher::set_timer(bool on) {
  if (on == timer_on_)
    return;
  timer_on_ = on;
  const auto every = std::max<std::int64_t>(options_.look_every.count(), 1'000'000);
  itimerspec when{};
  if (on) {
    when.it_interval = {every / 1'000'000'000, every % 1'000'000'000};
    when.it_value = when.it_interval;
  }
  ::timerfd_settime(timer_.get(), 0, &when, nullptr);
}

status rank_launcher::start_rank(const rank_command& command) {
  if (command.rank < 0 || command.rank >= options_.ranks || command.arguments.empty() || command.attempt == 0)
    return error{errc::invalid_argument, "rank " + std::to_string(command.rank) + " of " + std::to_string(options_.ranks) + ", attempt " +
                                             std::to_string(command.attempt) + ": not a rank of this gang, or without a command"};
  if (keeper_lost_)
    return error{errc::worker_lost, "the keeper of ranks on " + options_.host + " has ended"};
  FLYWHEEL_TRY(const auto program, find_program(command.arguments.front()));
  FLYWHEEL_TRY(const auto text, encode_plan(program, command));
  FLYWHEEL_TRY(const auto plan, memory_file(text));
  FLYWHEEL_TRY(auto board, rank_board::create(command.rank, command.attempt));
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0)
    return error_from_errno(errno, "making a pipe for the output of a rank");
  owned_fd out_in{out[0]}, out_out{out[1]};
  if (::pipe2(err, O_CLOEXEC) != 0)
    return error_from_errno(errno, "making a pipe for the output of a rank");
  owned_fd err_in{err[0]}, err_out{err[1]};
  ::fcntl(out_in.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(err_in.get(), F_SETFL, O_NONBLOCK);

  keeper_order order;
  order.kind = keeper_order::start;
  order.rank = command.rank;
  order.attempt = command.attempt;
  order.memory_max = command.memory_max;
  const std::array<int, keeper_order_descriptors> given{plan.get(), board.fd(), out_out.get(), err_out.get()};
  std::array<char, CMSG_SPACE(sizeof given)> control{};
  iovec part{&order, sizeof order};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  auto* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof given);
  std::memcpy(CMSG_DATA(head), given.data(), sizeof given);
  if (::sendmsg(keeper_.get(), &message, MSG_NOSIGNAL) != sizeof order)
    return error_from_errno(errno, "telling the keeper to start a rank");

  if (attempt_ != command.attempt)
    children_.clear(); // of the attempt before; its pipes may still be held by nobody, for it was cleared
  attempt_ = command.attempt;
  auto& c = children_.emplace(command.rank, child{std::move(board)}).first->second;
  c.attempt = command.attempt;
  c.memory_max = command.memory_max;
  c.output[0].pipe = std::move(out_in);
  c.output[1].pipe = std::move(err_in);
  c.output[1].is_error = true;
  for (std::uint64_t i = 0; i < 2; ++i)
    watch(events_.get(), c.output[i].pipe.get(), from_ranks + static_cast<std::uint64_t>(command.rank) * 2 + i);
  return success();
}

void rank_launcher::kill_all() {
  keeper_order order;
  order.kind = keeper_order::kill_all;
  order.attempt = attempt_ == 0 ? 1 : attempt_;
  (void)!::send(keeper_.get(), &order, sizeof order, MSG_NOSIGNAL);
}

void rank_launcher::signal_all(int number) {
  keeper_order order;
  order.kind = keeper_order::signal_all;
  order.signal = number;
  (void)!::send(keeper_.get(), &order, sizeof order, MSG_NOSIGNAL);
}

void rank_launcher::take_line(int rank, child& c, const stream& s, std::string_view line) {
  if (!trim(line).empty()) {
    c.last_lines.push_back(printable(trim(line), 300));
    if (c.last_lines.size() > lines_kept)
      c.last_lines.erase(c.last_lines.begin());
  }
  if (output_)
    output_(rank, s.is_error, line);
}

void rank_launcher::read_stream(int rank, child& c, stream& s, bool to_the_end) {
  std::array<char, 65536> buffer;
  for (std::size_t turn = 0; s.pipe && (to_the_end || turn < read_turns_max) && turn < 64 * read_turns_max; ++turn) {
    const auto n = ::read(s.pipe.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      if (n == 0 || errno != EAGAIN) {
        if (!s.partial.empty())
          take_line(rank, c, s, s.partial);
        s.partial.clear();
        s.pipe.reset(); // leaves epoll with it
      }
      return;
    }
    std::string_view rest{buffer.data(), static_cast<std::size_t>(n)};
    while (!rest.empty()) {
      const auto end = rest.find('\n');
      s.partial.append(rest.substr(0, end));
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
      if (end == std::string_view::npos && s.partial.size() < line_bytes_max)
        break;
      take_line(rank, c, s, s.partial);
      s.partial.clear();
    }
  }
}

void rank_launcher::read_keeper(std::vector<gang_observation>& seen) {
  keeper_news news;
  while (true) {
    const auto n = ::recv(keeper_.get(), &news, sizeof news, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
      continue;
    if (n == 0)
      return lose_keeper(seen);
    if (n != sizeof news)
      return;
    if (news.kind == keeper_news::cleared) {
      set_timer(false);
      for (auto& [rank, c] : children_) // what grandchildren said last
        for (auto& s : c.output)
          read_stream(rank, c, s, true);
      seen.push_back(host_cleared{options_.host, news.attempt});
      continue;
    }
    const auto at = children_.find(news.rank);
    if (news.kind == keeper_news::ready || at == children_.end() || at->second.attempt != news.attempt)
      continue;
    auto& c = at->second;
    rank_observation o{news.rank, news.attempt, rank_started{news.pid}};
    if (news.kind == keeper_news::started) {
      c.pid = news.pid;
      c.is_alive = true;
      set_timer(true);
    } else if (news.kind == keeper_news::refused) {
      const auto where = std::clamp<std::size_t>(static_cast<std::size_t>(news.where), 0, refusal_names.size() - 1);
      o.what = rank_refused{error_from_errno(news.number, std::string(refusal_names[where]) + " rank " + std::to_string(news.rank))};
    } else {
      // What it said last, on its board and its output, comes before its end.
      for (auto& s : c.output)
        read_stream(news.rank, c, s, true);
      if (auto last = look_at(news.rank, c, system_clock().mono()))
        seen.push_back(std::move(*last));
      c.is_alive = false;
      rank_exit how;
      if (WIFSIGNALED(news.number))
        how.signal = WTERMSIG(news.number);
      else
        how.code = WEXITSTATUS(news.number);
      how.kernel_oom = news.kernel_oom != 0;
      how.peak_bytes = news.peak_bytes;
      how.memory_max = c.memory_max;
      how.last_output = join(c.last_lines, " | ");
      o.what = rank_ended{std::move(how)};
    }
    seen.push_back(std::move(o));
  }
}

void rank_launcher::lose_keeper(std::vector<gang_observation>& seen) {
  if (keeper_lost_)
    return;
  keeper_lost_ = true;
  set_timer(false);
  ::epoll_ctl(events_.get(), EPOLL_CTL_DEL, keeper_.get(), nullptr);
  ::epoll_ctl(events_.get(), EPOLL_CTL_DEL, keeper_exit_.get(), nullptr);
  // The kernel kills the ranks themselves; this reaches what they started in their groups.
  for (auto& [rank, c] : children_)
    if (c.is_alive)
      ::kill(-c.pid, SIGKILL);
  seen.push_back(host_lost{options_.host, "the keeper of its ranks ended"});
}

namespace {
constexpr unsigned looks_a_second = 40;
} // namespace

std::optional<rank_observation> rank_launcher::look_at(int rank, child& c, mono_time now) {
  const auto changes = c.board.changes();
  const bool is_new = c.changes_seen != changes;
  // Who writes past the protocol may change a board without its number: about once a second it is read all the same, for what cannot be.
  const bool is_due = !is_new && !c.was_garbled && ++c.looks % looks_a_second == 0;
  // A rank that writes is not stopped; one that does not is asked about, which costs a system call or three.
  const bool stopped = !is_new && is_stopped(c.pid);
  const bool is_news = is_new || stopped != c.was_stopped;
  if (!is_news && !is_due)
    return std::nullopt;
  auto report = c.board.read(options_.ranks, now);
  if (!is_news && (report || report.error().code == errc::interrupted))
    return std::nullopt;
  if (!report) {
    if (report.error().code == errc::interrupted && !stopped)
      return std::nullopt;
    if (report.error().code != errc::interrupted) {
      c.changes_seen = changes;
      if (std::exchange(c.was_garbled, true))
        return std::nullopt;
      return rank_observation{rank, c.attempt, rank_garbled{std::move(report).error()}};
    }
    report = rank_report{}; // stopped in the middle of a change: that much can be told
  }
  c.changes_seen = changes;
  c.was_stopped = stopped;
  rank_seen seen{std::move(*report), {}, {}, stopped};
  if (seen.report.entered)
    seen.entered_ago = now - *seen.report.entered;
  if (seen.report.finished)
    seen.finished_ago = now - *seen.report.finished;
  return rank_observation{rank, c.attempt, std::move(seen)};
}

void rank_launcher::look(std::vector<gang_observation>& seen) {
  const auto now = system_clock().mono();
  for (auto& [rank, c] : children_)
    if (c.is_alive)
      if (auto o = look_at(rank, c, now))
        seen.push_back(std::move(*o));
}

std::vector<gang_observation> rank_launcher::wait(nanoseconds at_most) {
  std::vector<gang_observation> seen;
  std::array<epoll_event, 64> ready;
  const auto ms = std::clamp<std::int64_t>((at_most.count() + 999'999) / 1'000'000, 0, 3'600'000);
  const int n = ::epoll_wait(events_.get(), ready.data(), static_cast<int>(ready.size()), static_cast<int>(ms));
  // The keeper first: an end is worth more than a line of output.
  for (int i = 0; i < n; ++i)
    if (ready[static_cast<std::size_t>(i)].data.u64 == from_keeper)
      read_keeper(seen);
  for (int i = 0; i < n; ++i) {
    const auto what = ready[static_cast<std::size_t>(i)].data.u64;
    if (what == from_keeper_exit) {
      if (!keeper_lost_)
        read_keeper(seen);
      lose_keeper(seen);
    } else if (what == from_timer) {
      std::uint64_t times = 0;
      if (::read(timer_.get(), &times, sizeof times) == sizeof times)
        look(seen);
    } else if (what >= from_ranks) {
      const int rank = static_cast<int>((what - from_ranks) / 2);
      if (const auto at = children_.find(rank); at != children_.end())
        read_stream(rank, at->second, at->second.output[(what - from_ranks) % 2], false);
    }
  }
  return seen;
}

} // namespace flywheel
