#include "cluster/worker/lease_page.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flywheel;
using namespace std::chrono_literals;

namespace {

/// A child that keeps to the page and would otherwise live for a minute. Returns how it ended and after how long.
struct child {
  explicit child(const lease_page& page) {
    pid = ::fork();
    if (pid == 0) {
      ::setenv(lease_page_variable, std::to_string(page.fd()).c_str(), 1);
      end_with_lease();
      ::poll(nullptr, 0, 60'000);
      ::_exit(0);
    }
    watch = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  }
  ~child() {
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    ::close(watch);
  }
  bool ended_within(int ms) const {
    pollfd p{watch, POLLIN, 0};
    return ::poll(&p, 1, ms) == 1;
  }
  int exit_code() {
    int how = 0;
    ::waitpid(pid, &how, 0);
    pid = -1;
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
  }
  pid_t pid = -1;
  int watch = -1;
};

} // namespace

TEST(lease_page, a_worker_ends_itself_when_the_lease_is_over_and_not_before) {
  const auto page = lease_page::make();
  ASSERT_TRUE(page) << page.error().to_string();
  child c{**page};
  EXPECT_FALSE(c.ended_within(200)) << "no end is set";
  const auto end = system_clock().mono() + 400ms;
  (*page)->set_end(end);
  ASSERT_TRUE(c.ended_within(20'000));
  EXPECT_GE(system_clock().mono(), end);
  EXPECT_EQ(c.exit_code(), 71);
}

TEST(lease_page, a_lease_that_is_prolonged_goes_on) {
  const auto page = lease_page::make();
  ASSERT_TRUE(page);
  child c{**page};
  for (int i = 0; i < 10; ++i) {
    (*page)->set_end(system_clock().mono() + 10s);
    EXPECT_FALSE(c.ended_within(30));
  }
  (*page)->set_end(mono_time{1}); // long over
  EXPECT_TRUE(c.ended_within(20'000));
}

TEST(lease_page, a_worker_that_cannot_read_its_lease_does_not_work) {
  ::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setenv(lease_page_variable, "999", 1);
    end_with_lease();
    ::_exit(0);
  }
  int how = 0;
  ::waitpid(pid, &how, 0);
  EXPECT_EQ(WEXITSTATUS(how), 71);
}

TEST(lease_page, another_process_sees_when_it_is_over) {
  const auto page = lease_page::make();
  ASSERT_TRUE(page);
  ::setenv(lease_page_variable, std::to_string((*page)->fd()).c_str(), 1);
  const auto seen = lease_view::from_environment();
  ::setenv(lease_page_variable, "999999", 1);
  EXPECT_FALSE(lease_view::from_environment()) << "told to keep to a lease that cannot be read";
  ::unsetenv(lease_page_variable);
  EXPECT_TRUE(lease_view::from_environment().has_value() && !lease_view::from_environment()->has_value());
  ASSERT_TRUE(seen && *seen);
  EXPECT_FALSE((*seen)->is_over(mono_time{1'000}));
  (*page)->set_end(mono_time{500});
  EXPECT_FALSE((*seen)->is_over(mono_time{499}));
  EXPECT_TRUE((*seen)->is_over(mono_time{500}));
}
