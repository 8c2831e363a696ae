#pragma once
// Root mean square normalisation (Zhang, Sennrich 2019): each row divided by its root mean square, then scaled per column.

#include "gpu/matrix_view.hpp"

#include <span>

namespace flywheel::gpu {

inline constexpr double rms_norm_epsilon = 1e-5;

/// y = x * r * gain with r = 1 / sqrt(mean(x^2) + epsilon). `inverse_root` (one a row) is kept for backward.
template <class T>
void rms_norm_forward(matrix_view<const T> x, std::span<const T> gain, matrix_view<T> y, std::span<T> inverse_root);

/// dx is overwritten (it may be dy's own storage), or added to where `add`; dgain is added to.
template <class T>
void rms_norm_backward(matrix_view<const T> dy, matrix_view<const T> x, std::span<const T> gain,
                       std::span<const T> inverse_root, matrix_view<T> dx, std::span<T> dgain, bool add = false);

} // namespace flywheel::gpu
