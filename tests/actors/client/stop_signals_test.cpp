#include "actors/client/stop_signals.hpp"

#include "cluster/base/clock.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <poll.h>
#include <unistd.h>

namespace flywheel {
namespace {

// Each test runs in a child of its own: a request to stop is for ever.
void in_child(const std::function<void()>& body) {
  const auto run = [&] {
    body();
    std::_Exit(0);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "");
}

void expect(bool truth, int code) {
  if (!truth)
    std::_Exit(code);
}

void wait_out_one_press() {
  ::poll(nullptr, 0, 250); // longer than what counts as one press
}

TEST(stop_signals_death, the_first_signal_asks_and_can_be_polled) {
  in_child([] {
    const stop_signals stop;
    pollfd p{stop.fd(), POLLIN, 0};
    expect(!stop.requested() && ::poll(&p, 1, 0) == 0, 1);
    ::raise(SIGTERM);
    expect(stop.requested() && stop.signal_number() == SIGTERM, 2);
    expect(::poll(&p, 1, 0) == 1 && ::poll(&p, 1, 0) == 1, 3);
  });
}

TEST(stop_signals_death, a_second_signal_ends_the_process_as_the_system_would) {
  const auto twice = [] {
    const stop_signals stop;
    ::raise(SIGINT);
    wait_out_one_press();
    ::raise(SIGINT);
    std::_Exit(0);
  };
  EXPECT_EXIT(twice(), testing::KilledBySignal(SIGINT), "");
}

TEST(stop_signals_death, a_repetition_at_once_is_the_same_press) {
  in_child([] {
    const stop_signals stop;
    ::raise(SIGINT);
    ::raise(SIGINT);
    expect(stop.requested(), 1);
  });
}

TEST(stop_signals_death, nested_objects_see_the_same_request_and_the_last_one_restores) {
  in_child([] {
    {
      const stop_signals outer;
      {
        const stop_signals inner;
        ::raise(SIGHUP);
        expect(inner.requested(), 1);
      }
      expect(outer.requested(), 2);
      struct sigaction now {};
      ::sigaction(SIGINT, nullptr, &now);
      expect(now.sa_handler != SIG_DFL, 3);
    }
    struct sigaction now {};
    ::sigaction(SIGINT, nullptr, &now);
    expect(now.sa_handler == SIG_DFL, 4);
  });
}

TEST(stop_signals_death, under_nohup_a_hang_up_stays_ignored) {
  in_child([] {
    ::signal(SIGHUP, SIG_IGN);
    const stop_signals stop;
    ::raise(SIGHUP);
    expect(!stop.requested(), 1);
  });
}

TEST(stop_signals_death, children_inherit_no_blocked_signal) {
  in_child([] {
    const stop_signals stop;
    sigset_t blocked;
    ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
    expect(!sigismember(&blocked, SIGINT) && !sigismember(&blocked, SIGTERM), 1);
  });
}

} // namespace
} // namespace flywheel
