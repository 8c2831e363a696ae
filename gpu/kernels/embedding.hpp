#pragma once
// One learnt vector per category. Row 0 of the table answers for missing and unknown categories.

#include "gpu/matrix_view.hpp"

#include <cstdint>
#include <span>

namespace flywheel::gpu {

/// y(i, :) = table(index[i], :). Indices must be below table.rows.
template <class T> void embedding_forward(std::span<const std::uint32_t> index, matrix_view<const T> table, matrix_view<T> y);

/// dtable(index[i], :) += dy(i, :), in the order of rows.
template <class T>
void embedding_backward(std::span<const std::uint32_t> index, matrix_view<const T> dy, matrix_view<T> dtable);

} // namespace flywheel::gpu
