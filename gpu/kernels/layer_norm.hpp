#pragma once
// Layer normalisation (Ba, Kiros, Hinton 2016): each row to mean 0 and variance 1, then scaled and shifted per column.

#include "gpu/matrix_view.hpp"

#include <span>

namespace flywheel::gpu {

inline constexpr double layer_norm_epsilon = 1e-5;

/// y = (x - mean) * inverse_deviation * gain + shift. `mean` and `inverse_deviation` (one a row) are kept for backward.
template <class T>
void layer_norm_forward(matrix_view<const T> x, std::span<const T> gain, std::span<const T> shift, matrix_view<T> y,
                        std::span<T> mean, std::span<T> inverse_deviation);

/// dx is overwritten (it may be dy's own storage), or added to where `add`; dgain and dshift are added to.
template <class T>
void layer_norm_backward(matrix_view<const T> dy, matrix_view<const T> x, std::span<const T> gain, std::span<const T> mean,
                         std::span<const T> inverse_deviation, matrix_view<T> dx, std::span<T> dgain, std::span<T> dshift,
                         bool add = false);

} // namespace flywheel::gpu
