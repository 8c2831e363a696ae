#pragma once
// Which of this machine's cores and GPUs are close to each other: hwloc's view of what this process may use (control groups and CPU binding
// respected), and the kernel's of a PCI device.

#include <filesystem>
#include <string>
#include <vector>

namespace flywheel {

struct machine_topology {
  std::vector<int> cores;               ///< the NUMA node of each processing unit that may be used, those of one node side by side; at least one
};

/// Never fails: a machine that cannot be looked at is `fallback_cores` on NUMA node 0.
machine_topology read_topology(unsigned fallback_cores);

/// The NUMA node that the PCI device `bus` ("0000:65:00.0", any case) hangs on; 0 where the kernel does not say, as on machines with one.
int numa_of_pci(const std::string& bus, const std::filesystem::path& devices = "/sys/bus/pci/devices");

} // namespace flywheel
