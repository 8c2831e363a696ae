#include "actors/client/machine_slots.hpp"

#include <gtest/gtest.h>

#include <map>

using namespace flywheel;

TEST(machine_slots, share_cores_and_memory_and_give_each_gpu_one) {
  gpu::device_report machine;
  const machine_topology flat{std::vector<int>(8, 0)};
  machine.devices.push_back({gpu::device_kind::host, 0, "a processor", 64, 32, 8, 0, 0});
  machine.devices.push_back({gpu::device_kind::cuda, 0, "NVIDIA H200", 141, 140, 132, 9, 0});
  machine.devices.push_back({gpu::device_kind::cuda, 1, "NVIDIA H200", 141, 140, 132, 9, 0});
  const auto by_core = slots_of(machine, flat, 0);
  std::map<slot_kind, int> kinds;
  for (const auto& s : by_core)
    ++kinds[s.kind];
  EXPECT_EQ(kinds[slot_kind::cpu], 8);
  EXPECT_EQ(kinds[slot_kind::gpu], 2);
  const auto two = slots_of(machine, flat, 2);
  ASSERT_EQ(two.size(), 4U);
  EXPECT_EQ(two[0].id.name, "cpu0");
  EXPECT_EQ(two[0].model, "4 cores");
  EXPECT_EQ(two[0].memory, 32U);
  EXPECT_EQ(two[3].id.name, "gpu1");
  EXPECT_EQ(two[3].memory, 141U);
  EXPECT_EQ(slots_of(machine, flat, 16)[15].model, "1 core") << "more slots than cores share them";
}

TEST(machine_slots, are_laid_over_the_cores_node_by_node) {
  gpu::device_report machine;
  machine.devices.push_back({gpu::device_kind::host, 0, "a processor", 64, 32, 8, 0, 0});
  const machine_topology two{{0, 0, 0, 0, 1, 1, 1, 1}};
  const auto numa = [&](unsigned cpu) {
    std::vector<int> nodes;
    for (const auto& s : slots_of(machine, two, cpu))
      nodes.push_back(s.numa);
    return nodes;
  };
  EXPECT_EQ(numa(0), two.cores);
  EXPECT_EQ(numa(2), (std::vector<int>{0, 1}));
  EXPECT_EQ(numa(4), (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(numa(1), (std::vector<int>{0}));
  EXPECT_EQ(numa(16)[15], 1);
}
