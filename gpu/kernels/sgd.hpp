#pragma once
// Stochastic gradient descent with momentum (Polyak 1964; Nesterov's variant as in Sutskever et al. 2013), decay decoupled
// from the gradient as in AdamW.

#include <span>

namespace flywheel::gpu {

struct sgd_options {
  double momentum = 0.9;
  bool nesterov = false;
};

/// velocity = momentum * velocity + gradient; weights = (1 - rate * decay) weights - rate * velocity, or with Nesterov
/// - rate * (gradient + momentum * velocity). `velocity` starts as zeros.
template <class T>
void sgd(std::span<T> weights, std::span<const T> gradient, std::span<T> velocity, double rate, double decay,
         const sgd_options& options = {});

} // namespace flywheel::gpu
