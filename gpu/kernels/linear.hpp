#pragma once
// y = x w + b: x is rows x in, w is in x out, b has out elements, or none where the layer has no bias.

#include "gpu/matrix_view.hpp"

#include <span>

namespace flywheel::gpu {

enum class gradient_write : bool { add, over };

template <class T>
void linear_forward(matrix_view<const T> x, matrix_view<const T> w, std::span<const T> b, matrix_view<T> y);

/// dx = dy w' (skipped where dx.data is null), dw += x' dy, db += column sums of dy. With gradient_write::over, dw is
/// overwritten, which saves clearing and reading it; db is added to all the same.
template <class T>
void linear_backward(matrix_view<const T> dy, matrix_view<const T> x, matrix_view<const T> w, matrix_view<T> dx,
                     matrix_view<T> dw, std::span<T> db, gradient_write write = gradient_write::add);

/// to += sums over the rows of x, per column.
template <class T> void add_column_sums(matrix_view<const T> x, std::span<T> to);

/// to += x, element by element.
template <class T> void add_matrix(matrix_view<const T> x, matrix_view<T> to);

} // namespace flywheel::gpu
