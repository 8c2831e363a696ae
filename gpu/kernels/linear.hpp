#pragma once
// y = x w + b: x is rows x in, w is in x out, b has out elements.

#include "gpu/matrix_view.hpp"

#include <span>

namespace flywheel::gpu {

template <class T>
void linear_forward(matrix_view<const T> x, matrix_view<const T> w, std::span<const T> b, matrix_view<T> y);

/// dx = dy w' (skipped where dx.data is null), dw += x' dy, db += column sums of dy.
template <class T>
void linear_backward(matrix_view<const T> dy, matrix_view<const T> x, matrix_view<const T> w, matrix_view<T> dx,
                     matrix_view<T> dw, std::span<T> db);

} // namespace flywheel::gpu
