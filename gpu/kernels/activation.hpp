#pragma once
// Element by element: ReLU, and GELU in its tanh form (Hendrycks, Gimpel 2016).

#include "gpu/matrix_view.hpp"

#include <cstdint>

namespace flywheel::gpu {

enum class activation : std::uint8_t { relu, gelu };

/// y = f(x); y may be x's own storage only if backward is not needed (it wants x).
template <class T> void activation_forward(activation f, matrix_view<const T> x, matrix_view<T> y);
/// dx = dy * f'(x); dx may be dy's own storage. ReLU's slope at 0 is 0.
template <class T>
void activation_backward(activation f, matrix_view<const T> dy, matrix_view<const T> x, matrix_view<T> dx);

} // namespace flywheel::gpu
