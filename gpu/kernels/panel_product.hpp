#pragma once
// Matrix products inside one thread, for a network that takes a few rows through all of its layers while they are in the
// cache: there, each product is too small for a library that first packs both sides, and a loop shared among threads for
// each costs more than it saves. The right side is packed once and then used by every stretch of rows.
//
// Panels: the right side's columns, `panel_width` at a time and side by side, depth by depth; a tile of six rows by one
// panel stays in registers (Goto, van de Geijn, "Anatomy of high-performance matrix multiplication", 2008).
// Every element is one sum over the depth, in one order: how rows are divided among calls does not change a bit.

#include "gpu/kernels/gemm.hpp"
#include "gpu/matrix_view.hpp"

#include <span>

namespace flywheel::gpu {

/// Columns of a panel: one cache line.
template <class T> inline constexpr std::size_t panel_width = 64 / sizeof(T);

/// Distance of rows that products like: whole lines, so that rows can be read as panels; and an odd number of them, so
/// that a column's elements are spread over the whole cache.
template <class T> constexpr std::size_t panel_stride(std::size_t columns) {
  return (((columns + panel_width<T> - 1) / panel_width<T>) | 1) * panel_width<T>;
}

/// The right side of a product: depth x columns, owned by somebody else. Of the last panel all columns can be read.
template <class T> struct panels {
  const T* data = nullptr;
  std::size_t depth = 0, columns = 0;
  std::size_t row_step = 0, panel_step = 0;
};

/// Elements that packing a matrix of this shape takes.
template <class T> constexpr std::size_t packed_size(std::size_t depth, std::size_t columns) {
  return depth * ((columns + panel_width<T> - 1) / panel_width<T>) * panel_width<T>;
}

/// Copies op(w) into `to` (packed_size of op(w)'s shape), which must outlive the answer.
template <class T> panels<T> pack(op o, matrix_view<const T> w, T* to);

/// A matrix as it lies; its stride must be at least panel_stride of its columns, and what lies between is not used.
template <class T> panels<T> as_panels(matrix_view<const T> x);

/// c = op(a) b + row, where `row` (c.columns, or empty for zero) is added to each row. c overlaps neither a nor b.
template <class T>
void panel_product(op op_a, std::type_identity_t<matrix_view<const T>> a, const panels<T>& b,
                   std::type_identity_t<std::span<const T>> row, matrix_view<T> c);

/// c += op(a) b
template <class T>
void panel_product_add(op op_a, std::type_identity_t<matrix_view<const T>> a, const panels<T>& b, matrix_view<T> c);

} // namespace flywheel::gpu
