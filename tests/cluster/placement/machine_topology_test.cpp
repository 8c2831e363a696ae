#include "cluster/placement/machine_topology.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sched.h>

using namespace flywheel;

TEST(machine_topology, knows_the_cores_that_this_process_may_use_node_by_node) {
  const auto m = read_topology(3);
  cpu_set_t set;
  ASSERT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  EXPECT_EQ(m.cores.size(), static_cast<std::size_t>(CPU_COUNT(&set)));
  EXPECT_TRUE(std::is_sorted(m.cores.begin(), m.cores.end()));
}

TEST(machine_topology, a_process_that_is_bound_to_one_core_has_one) {
  cpu_set_t before, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &before)) {
      CPU_SET(i, &one);
      break;
    }
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(read_topology(3).cores.size(), 1U);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(machine_topology, of_a_pci_device_the_kernel_is_asked) {
  char name[] = "/tmp/fw-pci-XXXXXX";
  const std::filesystem::path root = ::mkdtemp(name);
  std::filesystem::create_directory(root / "0000:65:00.0");
  std::filesystem::create_directory(root / "0000:66:00.0");
  std::ofstream{root / "0000:65:00.0" / "numa_node"} << "1\n";
  std::ofstream{root / "0000:66:00.0" / "numa_node"} << "-1\n"; // not known
  EXPECT_EQ(numa_of_pci("0000:65:00.0", root), 1);
  EXPECT_EQ(numa_of_pci("0000:66:00.0", root), 0);
  std::filesystem::create_directory(root / "0000:e1:00.0");
  std::ofstream{root / "0000:e1:00.0" / "numa_node"} << "3\n";
  EXPECT_EQ(numa_of_pci("0000:E1:00.0", root), 3) << "CUDA writes capitals";
  for (const char* none : {"", "0000:99:00.0", "../0000:65:00.0"})
    EXPECT_EQ(numa_of_pci(none, root), 0);
  std::filesystem::remove_all(root);
}
