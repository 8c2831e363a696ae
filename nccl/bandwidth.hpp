#pragma once
// What a collective's time says about the wire. Definitions as in nccl-tests (doc/PERFORMANCE.md there), so that figures can
// be compared with everybody's:
//   algorithm bandwidth = S / t, with S the bytes of the whole array (for reduce_scatter and all_gather too)
//   bus bandwidth       = algorithm bandwidth x factor; independent of n for an algorithm that keeps every link busy
// Factors for n ranks: all_reduce 2(n-1)/n, since each of n shards travels n-1 hops to be reduced and n-1 to be spread, over n
// links; reduce_scatter and all_gather (n-1)/n, half of that; broadcast 1, since every byte must enter every rank once.

#include "nccl/collective_types.hpp"

#include <cstdint>

namespace flywheel::nccl {

/// 0 for a gang of one (nothing travels), and for join and barrier.
double bus_factor(collective what, int ranks) noexcept;
/// Bytes per second; seconds > 0.
double algorithm_bandwidth(std::uint64_t bytes, double seconds) noexcept;
double bus_bandwidth(collective what, int ranks, std::uint64_t bytes, double seconds) noexcept;
/// The inverse: seconds that a collective of `bytes` takes on a bus of this bandwidth; 0 where nothing travels.
double expected_seconds(collective what, int ranks, std::uint64_t bytes, double bus_bytes_per_second) noexcept;

} // namespace flywheel::nccl
