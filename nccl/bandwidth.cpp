#include "nccl/bandwidth.hpp"

namespace flywheel::nccl {

double bus_factor(collective what, int ranks) noexcept {
  if (ranks <= 1)
    return 0;
  const double n = ranks;
  switch (what) {
  case collective::all_reduce: return 2 * (n - 1) / n;
  case collective::reduce_scatter: return (n - 1) / n;
  case collective::all_gather: return (n - 1) / n;
  case collective::broadcast: return 1;
  case collective::join: return 0;
  case collective::barrier: return 0;
  }
  return 0;
}

double algorithm_bandwidth(std::uint64_t bytes, double seconds) noexcept { return static_cast<double>(bytes) / seconds; }

double bus_bandwidth(collective what, int ranks, std::uint64_t bytes, double seconds) noexcept {
  return algorithm_bandwidth(bytes, seconds) * bus_factor(what, ranks);
}

double expected_seconds(collective what, int ranks, std::uint64_t bytes, double bus_bytes_per_second) noexcept {
  return static_cast<double>(bytes) * bus_factor(what, ranks) / bus_bytes_per_second;
}

} // namespace flywheel::nccl
