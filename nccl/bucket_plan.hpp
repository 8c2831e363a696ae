#pragma once
// How the parameters of a model lie in one flat array, and how that array is cut into buckets that are reduced one by one while
// backward still runs. Pure; the same on all ranks.

#include "cluster/base/error.hpp"
#include "nccl/shard.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace flywheel::nccl {

/// Elements [begin, begin + count) of the flat array.
struct flat_range {
  std::size_t begin = 0, count = 0;
  bool operator==(const flat_range&) const = default;
};

struct bucket_plan {
  std::vector<flat_range> parameters;      ///< by parameter, in the caller's (forward) order
  std::vector<std::size_t> bucket_of;      ///< by parameter
  std::vector<flat_range> buckets;         ///< bucket 0 holds the last parameters: backward makes their gradients first
  std::vector<std::size_t> parameters_in;  ///< by bucket: how many
  std::size_t elements = 0;                ///< of the flat array, padding included
  bool operator==(const bucket_plan&) const = default;
};

/// `sizes`: elements of each parameter in the order of forward. A bucket is closed as soon as it holds `bucket_elements`; a larger
/// parameter has a bucket of its own. Buckets start at multiples of shard_grain; a parameter starts right after the one before.
/// invalid_argument if there are no parameters, bucket_elements is 0, or the sum of sizes is no size of an array.
result<bucket_plan> plan_buckets(std::span<const std::size_t> sizes, std::size_t bucket_elements);

/// The elements of the flat array that a rank owns when optimiser state is sharded: its part of every bucket, in the order of
/// the buckets; empty parts are left out. Together all ranks own everything, once.
std::vector<flat_range> owned_ranges(const bucket_plan& plan, std::size_t ranks, std::size_t rank);

} // namespace flywheel::nccl
