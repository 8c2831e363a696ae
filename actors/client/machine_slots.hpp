#pragma once
// What this machine has to compute on, as slots.

#include "cluster/placement/slot.hpp"
#include "gpu/device.hpp"

#include <vector>

namespace flywheel {

/// A slot for each GPU (gpu0, ...), and `cpu` slots of the host (cpu0, ...), each with its share of cores and memory; `cpu` 0: one a core.
/// The node's name is left empty.
std::vector<slot> slots_of(const gpu::device_report& machine, unsigned cpu);

} // namespace flywheel
