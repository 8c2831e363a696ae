#include "cluster/chaos/chaos_means_store.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

namespace flywheel {
namespace {

TEST(chaos_means_store, programs_are_run_and_waited_for) {
  EXPECT_EQ(run_command({"sh", "-c", "echo hello; echo none >&2; exit 3"}).exit_code, 3);
  EXPECT_EQ(run_command({"echo", "hello"}).out, "hello\n");
  EXPECT_EQ(run_command({"no-such-program-anywhere"}).exit_code, -1);
  EXPECT_LE(run_command({"sh", "-c", "head -c 1000000 /dev/zero"}).out.size(), (64U << 10) + 4096);
}

TEST(chaos_means_store, nodes_that_are_not_here_are_said_not_to_be) {
  const auto m = look_at_means("/tmp", {}, {"head", "node1"}, "head", "10.0.0.1:7400");
  EXPECT_EQ(m.root, ::geteuid() == 0);
  EXPECT_GT(m.disk_available, 0U);
  ASSERT_EQ(m.nodes.size(), 2U);
  EXPECT_TRUE(m.nodes[0].head);
  EXPECT_FALSE(m.nodes[1].here);
  EXPECT_EQ(m.nodes[1].head_address, "10.0.0.1");
}

} // namespace
} // namespace flywheel
