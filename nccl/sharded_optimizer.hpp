#pragma once
// ZeRO stage 1 (Rajbhandari, Rasley, Ruwase, He, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020):
// each rank keeps the optimiser's state, and updates the parameters, of its part of every bucket only; then the parts are gathered.
// Moves as many bytes as an all_reduce of the gradients.

#include "nccl/gradient_buckets.hpp"

#include <functional>

namespace flywheel::nccl {

/// Updates `weights` from `gradient`; `state` is where these elements begin in the rank's own state arrays (of state_elements()
/// each), which the caller keeps: for AdamW two of them. Elementwise, so that the result does not depend on the cut.
using shard_update = std::function<void(std::span<float> weights, std::span<const float> gradient, std::size_t state)>;

/// The parameters of one model. Same thread as the buckets' finish().
class sharded_optimizer {
public:
  /// Allocates the flat parameters (zeroed) in the layout of the buckets, which must be made with own_part and outlive this.
  static result<std::unique_ptr<sharded_optimizer>> make(gradient_buckets& gradients);

  std::span<float> parameter(std::size_t p) const;
  std::span<float> flat() const noexcept { return parameters_; }
  /// Copies rank 0's parameters to all ranks; once, before the first step.
  status spread_parameters();

  /// How many elements of state this rank keeps: about all / ranks.
  std::size_t state_elements() const noexcept { return state_elements_; }
  /// Which elements of flat() they belong to, in the order of the state: what a checkpoint of this shard says about itself.
  const std::vector<flat_range>& owned() const noexcept { return owned_; }

  /// After backward: finishes the gradients, updates this rank's part bucket by bucket, and gathers each bucket while the next one
  /// is updated. Afterwards all ranks hold the same parameters. The first failure, if there is one; then parameters are unspecified.
  status step(const shard_update& update);

private:
  sharded_optimizer(gradient_buckets& gradients, std::span<float> parameters);
  gradient_buckets& gradients_;
  const std::span<float> parameters_;
  std::vector<flat_range> owned_;
  std::size_t state_elements_ = 0;
};

} // namespace flywheel::nccl
