#include "actors/client/machine_slots.hpp"

#include <gtest/gtest.h>

#include <map>

using namespace flywheel;

TEST(machine_slots, share_cores_and_memory_and_give_each_gpu_one) {
  gpu::device_report machine;
  machine.devices.push_back({gpu::device_kind::host, 0, "a processor", 64, 32, 8, 0, 0});
  machine.devices.push_back({gpu::device_kind::cuda, 0, "NVIDIA H200", 141, 140, 132, 9, 0});
  machine.devices.push_back({gpu::device_kind::cuda, 1, "NVIDIA H200", 141, 140, 132, 9, 0});
  const auto by_core = slots_of(machine, 0);
  std::map<slot_kind, int> kinds;
  for (const auto& s : by_core)
    ++kinds[s.kind];
  EXPECT_EQ(kinds[slot_kind::cpu], 8);
  EXPECT_EQ(kinds[slot_kind::gpu], 2);
  const auto two = slots_of(machine, 2);
  ASSERT_EQ(two.size(), 4U);
  EXPECT_EQ(two[0].id.name, "cpu0");
  EXPECT_EQ(two[0].model, "4 cores");
  EXPECT_EQ(two[0].memory, 32U);
  EXPECT_EQ(two[3].id.name, "gpu1");
  EXPECT_EQ(two[3].memory, 141U);
  EXPECT_EQ(slots_of(machine, 16)[15].model, "1 core") << "more slots than cores share them";
}
