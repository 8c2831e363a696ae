#include "actors/client/child_process.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace flywheel {
namespace {

using namespace std::chrono_literals;

child_process started(std::vector<std::string> words, bool capture = false) {
  auto child = child_process::start(std::move(words), capture);
  EXPECT_TRUE(child) << (child ? "" : child.error().to_string());
  return std::move(*child);
}

TEST(child_process, its_exit_status_is_what_a_shell_would_say) {
  EXPECT_EQ(started({"sh", "-c", "exit 0"}).wait(), 0);
  EXPECT_EQ(started({"sh", "-c", "exit 75"}).wait(), 75);
  EXPECT_EQ(started({"sh", "-c", "kill -9 $$"}).wait(), 137);
}

TEST(child_process, its_lines_come_one_by_one_while_it_runs) {
  auto child = started({"sh", "-c", "echo first; echo; printf last; exec sleep 60 >&-"}, true);
  EXPECT_EQ(child.read_line(), "first");
  EXPECT_EQ(child.read_line(), "");
  EXPECT_EQ(child.read_line(), "last");
  EXPECT_EQ(child.read_line(), std::nullopt);
  EXPECT_EQ(child.wait_for(0s), std::nullopt) << "it still runs";
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(), 128 + SIGTERM);
  EXPECT_EQ(child.wait_for(0s), 128 + SIGTERM) << "and again";
}

TEST(child_process, a_program_that_is_nowhere_is_not_found) {
  const auto child = child_process::start({"flywheel-has-no-such-program"});
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code, errc::not_found);
}

TEST(child_process, does_not_outlive_its_object) {
  int pid = 0;
  {
    const auto child = started({"sleep", "60"});
    pid = child.pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1) << "ended, and reaped";
}

} // namespace
} // namespace flywheel
