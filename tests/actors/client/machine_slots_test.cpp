#include "actors/client/machine_slots.hpp"

#include <gtest/gtest.h>

namespace flywheel {
namespace {

TEST(machine_slots, are_those_of_the_gpus_and_as_many_of_the_host_as_asked_for) {
  gpu::device_report machine;
  machine.devices.resize(2);
  machine.devices[0].kind = gpu::device_kind::host;
  machine.devices[0].processors = 8;
  machine.devices[0].memory_total = 800;
  machine.devices[1].kind = gpu::device_kind::cuda;
  machine.devices[1].index = 3;
  EXPECT_EQ(slots_of(machine, 0).size(), 9U) << "one a core, and the GPU";
  const auto two = slots_of(machine, 2);
  ASSERT_EQ(two.size(), 3U);
  EXPECT_EQ(two[0].id.name, "cpu0");
  EXPECT_EQ(two[1].id.name, "cpu1");
  EXPECT_EQ(two[2].id.name, "gpu3");
}

} // namespace
} // namespace flywheel
