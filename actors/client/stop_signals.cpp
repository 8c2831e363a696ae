#include "actors/client/stop_signals.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/clock.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <sys/eventfd.h>
#include <unistd.h>

namespace flywheel {
namespace {

constexpr std::array watched{SIGINT, SIGTERM, SIGHUP};
constexpr std::int64_t same_press_ns = 200'000'000;

// A handler can reach only what is static. Lock-free, hence safe in a handler.
std::atomic<int> asked_by{0};
std::atomic<std::int64_t> asked_at{0};
std::atomic<int> event_fd{-1};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free);

int living = 0;
std::array<struct sigaction, watched.size()> before{};

extern "C" void on_stop_signal(int number) {
  const int saved = errno;
  const std::int64_t now = system_clock().mono().ns; // clock_gettime is async-signal-safe
  int none = 0;
  if (asked_by.compare_exchange_strong(none, number)) {
    asked_at = now;
    const std::uint64_t one = 1;
    (void)!::write(event_fd, &one, sizeof one);
  } else if (now - asked_at > same_press_ns) {
    ::signal(number, SIG_DFL);
    ::raise(number); // takes effect when this handler returns
  }
  errno = saved;
}

} // namespace

stop_signals::stop_signals() {
  if (living++ > 0)
    return;
  (void)system_clock(); // its static exists before a handler needs it
  if (event_fd < 0)
    event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  FLYWHEEL_ASSERT(event_fd >= 0, "no file descriptor left at start");
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < watched.size(); ++i) {
    ::sigaction(watched[i], nullptr, &before[i]);
    if (before[i].sa_handler != SIG_IGN)
      ::sigaction(watched[i], &action, nullptr);
  }
}

stop_signals::~stop_signals() {
  if (--living > 0)
    return;
  for (std::size_t i = 0; i < watched.size(); ++i)
    ::sigaction(watched[i], &before[i], nullptr);
}

bool stop_signals::requested() const noexcept { return asked_by != 0; }
int stop_signals::signal_number() const noexcept { return asked_by; }
int stop_signals::fd() const noexcept { return event_fd; }

} // namespace flywheel
