#pragma once
// What this machine has to compute on, as slots.

#include "cluster/placement/machine_topology.hpp"
#include "cluster/placement/slot.hpp"
#include "gpu/device.hpp"

#include <vector>

namespace flywheel {

/// A slot for each GPU (gpu0, ...), and `cpu` slots of the host (cpu0, ...), each with its share of cores and memory; `cpu` 0: one a core.
/// CPU slots are laid over the cores NUMA node by NUMA node. The node's name is left empty.
std::vector<slot> slots_of(const gpu::device_report& machine, const machine_topology& topology, unsigned cpu);
/// Of this machine, as far as this process may use it.
std::vector<slot> own_slots(unsigned cpu);

} // namespace flywheel
