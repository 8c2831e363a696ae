#pragma once
// AdamW (Loshchilov, Hutter, "Decoupled weight decay regularization", 2019), and clipping by the global norm.

#include <cstdint>
#include <span>

namespace flywheel::gpu {

struct adamw_options {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
};

/// One update of `weights`; `step` counts from 1 and corrects the bias of the moments. `decay` is multiplied with
/// `rate` and the weight, apart from the gradient.
template <class T>
void adamw(std::span<T> weights, std::span<const T> gradient, std::span<T> moment1, std::span<T> moment2, double rate,
           double decay, std::uint64_t step, const adamw_options& options = {});

/// Euclidean norm, summed in double in an order that depends on the size alone.
template <class T> double gradient_norm(std::span<const T> gradient);

/// Scales the gradient so that its Euclidean norm is at most `norm_max`; returns the norm before.
template <class T> double clip_gradient(std::span<T> gradient, double norm_max);

} // namespace flywheel::gpu
