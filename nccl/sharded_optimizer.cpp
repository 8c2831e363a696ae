#include "nccl/sharded_optimizer.hpp"

#include "cluster/base/assert.hpp"

namespace flywheel::nccl {

result<std::unique_ptr<sharded_optimizer>> sharded_optimizer::make(gradient_buckets& gradients) {
  FLYWHEEL_ASSERT(gradients.how() == bucket_reduction::own_part, "a sharded optimiser needs each rank's own part of the gradients");
  const std::size_t n = gradients.plan().elements;
  FLYWHEEL_TRY(const auto bytes, gradients.thread().over().allocate(n * sizeof(float)));
  const std::span<float> parameters{reinterpret_cast<float*>(bytes.data()), n};
  return std::unique_ptr<sharded_optimizer>{new sharded_optimizer{gradients, parameters}};
}

sharded_optimizer::sharded_optimizer(gradient_buckets& gradients, std::span<float> parameters)
    : gradients_(gradients), parameters_(parameters) {
  const auto& over = gradients.thread().over();
  owned_ = owned_ranges(gradients.plan(), static_cast<std::size_t>(over.size()), static_cast<std::size_t>(over.rank()));
  for (const auto& r : owned_)
    state_elements_ += r.count;
}

std::span<float> sharded_optimizer::parameter(std::size_t p) const {
  const auto& at = gradients_.plan().parameters[p];
  return parameters_.subspan(at.begin, at.count);
}

status sharded_optimizer::spread_parameters() {
  // The communication thread is idle between steps: finish() has waited for all that was given.
  return gradients_.thread().over().broadcast(parameters_, 0, gradients_.timeout());
}

status sharded_optimizer::step(const shard_update& update) {
  FLYWHEEL_CHECK(gradients_.finish());
  auto& thread = gradients_.thread();
  const auto& buckets = gradients_.plan().buckets;
  std::vector<collective_handle> gathering;
  std::size_t state = 0;
  for (const auto& b : buckets) {
    const auto mine = thread.over().own_shard(b.count);
    if (mine.size() != 0)
      update(parameters_.subspan(b.begin + mine.begin, mine.size()), gradients_.flat().subspan(b.begin + mine.begin, mine.size()), state);
    state += mine.size();
    gathering.push_back(thread.all_gather(parameters_.subspan(b.begin, b.count), gradients_.timeout()));
  }
  status first;
  for (const auto& h : gathering)
    if (auto outcome = h.wait(); !outcome && first)
      first = std::move(outcome);
  return first;
}

} // namespace flywheel::nccl
