#include "nccl/bucket_plan.hpp"

#include <cstdint>
#include <string>

namespace flywheel::nccl {

result<bucket_plan> plan_buckets(std::span<const std::size_t> sizes, std::size_t bucket_elements) {
  constexpr std::size_t elements_max = std::size_t{1} << 48;
  if (sizes.empty() || bucket_elements == 0)
    return error{errc::invalid_argument, "buckets need parameters and a size"};
  bucket_plan plan;
  plan.parameters.resize(sizes.size());
  plan.bucket_of.resize(sizes.size());
  std::size_t end = 0;
  for (std::size_t p = sizes.size(); p-- > 0;) {
    if (sizes[p] > elements_max || end > elements_max - sizes[p])
      return error{errc::invalid_argument, "parameter " + std::to_string(p) + " of " + std::to_string(sizes[p]) + " elements is too large"};
    const bool full = plan.buckets.empty() || plan.buckets.back().count >= bucket_elements ||
                      (plan.buckets.back().count != 0 && sizes[p] >= bucket_elements);
    if (full) {
      end = (end + shard_grain - 1) / shard_grain * shard_grain;
      plan.buckets.push_back({end, 0});
      plan.parameters_in.push_back(0);
    }
    plan.parameters[p] = {end, sizes[p]};
    plan.bucket_of[p] = plan.buckets.size() - 1;
    plan.buckets.back().count += sizes[p];
    ++plan.parameters_in.back();
    end += sizes[p];
  }
  plan.elements = end;
  return plan;
}

std::vector<flat_range> owned_ranges(const bucket_plan& plan, std::size_t ranks, std::size_t rank) {
  std::vector<flat_range> owned;
  for (const auto& b : plan.buckets)
    if (const auto part = shard_of(b.count, ranks, rank); part.size() != 0)
      owned.push_back({b.begin + part.begin, part.size()});
  return owned;
}

} // namespace flywheel::nccl
