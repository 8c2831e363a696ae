// Who is found, and who is never struck.

#include "cluster/chaos/population_store.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace flywheel {
namespace {

TEST(population_store, a_process_is_known_by_its_start_too) {
  const auto self = process_of(::getpid());
  ASSERT_TRUE(self);
  EXPECT_EQ(self->parent, ::getppid());
  EXPECT_FALSE(self->argv.empty());
  EXPECT_TRUE(still_there(self->pid, self->started));
  EXPECT_FALSE(still_there(self->pid, self->started + 1)) << "another process of that number";
  EXPECT_FALSE(process_of(0x7ffffff0));
}

TEST(population_store, init_and_oneself_are_never_struck_nor_who_came_after) {
  const auto init = process_of(1);
  EXPECT_FALSE(signal_process(1, init ? init->started : 0, 0));
  EXPECT_FALSE(signal_process(0, 0, 0));
  EXPECT_FALSE(signal_process(-1, 0, 0));
  EXPECT_FALSE(signal_process(::getpid(), process_of(::getpid())->started, 0));
  const pid_t child = ::fork();
  if (child == 0)
    for (;;)
      ::pause();
  const auto p = process_of(child);
  EXPECT_FALSE(signal_process(child, p->started + 1, SIGKILL));
  EXPECT_TRUE(signal_process(child, p->started, SIGKILL));
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(signal_process(child, p->started, SIGKILL)) << "gone";
}

TEST(population_store, where_nobody_owns_the_state_there_is_nobody) {
  EXPECT_TRUE(nodes_here("/nonexistent/state", "127.0.0.1:1", {"head", "node1"}).empty());
  EXPECT_TRUE(subjects_here("/nonexistent/state", {}).empty());
}

} // namespace
} // namespace flywheel
