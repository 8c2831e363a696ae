#include "cluster/placement/machine_topology.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <hwloc.h>
#include <map>
#include <memory>

namespace flywheel {

namespace {

struct topology_closer {
  void operator()(hwloc_topology* t) const noexcept { hwloc_topology_destroy(t); }
};
struct bitmap_closer {
  void operator()(hwloc_bitmap_s* b) const noexcept { hwloc_bitmap_free(b); }
};

/// NUMA nodes by their numbers, with the processing units of each that are in `allowed`.
machine_topology sorted(hwloc_topology_t t, hwloc_const_bitmap_t allowed) {
  std::map<int, int> count;
  for (hwloc_obj_t unit = nullptr; (unit = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_PU, unit)) != nullptr;)
    if (hwloc_bitmap_isset(allowed, unit->os_index) != 0) {
      const int node = unit->nodeset != nullptr ? hwloc_bitmap_first(unit->nodeset) : 0;
      ++count[std::max(0, node)];
    }
  machine_topology m;
  for (const auto& [node, cores] : count)
    m.cores.insert(m.cores.end(), static_cast<std::size_t>(cores), node);
  return m;
}

} // namespace

machine_topology read_topology(unsigned fallback_cores) {
  machine_topology one;
  one.cores.assign(std::max(1u, fallback_cores), 0);
  hwloc_topology_t made = nullptr;
  if (hwloc_topology_init(&made) != 0)
    return one;
  const std::unique_ptr<hwloc_topology, topology_closer> t{made};
  const std::unique_ptr<hwloc_bitmap_s, bitmap_closer> allowed{hwloc_bitmap_alloc()};
  if (!allowed || hwloc_topology_load(t.get()) != 0)
    return one;
  if (hwloc_get_cpubind(t.get(), allowed.get(), HWLOC_CPUBIND_PROCESS) != 0)
    hwloc_bitmap_copy(allowed.get(), hwloc_topology_get_allowed_cpuset(t.get()));
  auto m = sorted(t.get(), allowed.get());
  return m.cores.empty() ? one : m;
}

int numa_of_pci(const std::string& bus, const std::filesystem::path& devices) {
  auto name = bus;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (name.empty() || name.find('/') != std::string::npos)
    return 0;
  std::ifstream in{devices / name / "numa_node"};
  int node = -1;
  return in >> node && node > 0 ? node : 0;
}

} // namespace flywheel
