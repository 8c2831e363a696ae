#include "actors/client/machine_slots.hpp"

#include <algorithm>

namespace flywheel {

std::vector<slot> slots_of(const gpu::device_report& machine, unsigned cpu) {
  std::vector<slot> all;
  for (const auto& d : machine.devices) {
    if (d.kind == gpu::device_kind::cuda) {
      all.push_back({{"", "gpu" + std::to_string(d.index)}, slot_kind::gpu, d.name, d.memory_total, 0});
      continue;
    }
    const unsigned cores = std::max(1, d.processors), count = cpu == 0 ? cores : cpu;
    const unsigned each = std::max(1u, cores / count);
    for (unsigned i = 0; i < count; ++i)
      all.push_back({{"", "cpu" + std::to_string(i)}, slot_kind::cpu, std::to_string(each) + (each == 1 ? " core" : " cores"), d.memory_total / count, 0});
  }
  return all;
}

} // namespace flywheel
