#include "actors/client/machine_slots.hpp"

#include <algorithm>
#include <thread>

namespace flywheel {

std::vector<slot> slots_of(const gpu::device_report& machine, const machine_topology& topology, unsigned cpu) {
  std::vector<slot> all;
  for (const auto& d : machine.devices) {
    if (d.kind == gpu::device_kind::cuda) {
      all.push_back({{"", "gpu" + std::to_string(d.index)}, slot_kind::gpu, d.name, d.memory_total, numa_of_pci(d.pci)});
      continue;
    }
    const auto cores = topology.cores.size(), count = cpu == 0 ? cores : std::size_t{cpu};
    const auto each = std::max<std::size_t>(1, cores / count);
    for (std::size_t i = 0; i < count; ++i)
      all.push_back({{"", "cpu" + std::to_string(i)}, slot_kind::cpu, std::to_string(each) + (each == 1 ? " core" : " cores"), d.memory_total / count,
                     topology.cores[i * cores / count]});
  }
  return all;
}

std::vector<slot> own_slots(unsigned cpu) { return slots_of(gpu::find_devices(), read_topology(std::thread::hardware_concurrency()), cpu); }

} // namespace flywheel
