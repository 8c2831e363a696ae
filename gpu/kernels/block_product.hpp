#pragma once
// Matrix products of many rows and columns, shared among threads: what gemm (gemm.hpp) does on processors where this measures
// faster than the library (bench/gemm). The way of Goto, van de Geijn, "Anatomy of high-performance matrix multiplication"
// (2008), with what a training step knows on top: both sides come from memory once, so the next piece of the longer side is
// fetched while this one is multiplied; and parts are claimed one by one (parallel.hpp).

#include "gpu/kernels/gemm.hpp"
#include "gpu/matrix_view.hpp"

namespace flywheel::gpu {

/// What a product's sums begin with, instead of zero.
template <class T> struct product_begin {
  const T* first = nullptr; ///< null: zero
  std::size_t step = 0;     ///< from row to row; 0: one row for all of them
};

/// c = op(a) op(b) + begin. c overlaps neither a nor b; `begin` may be c itself (and its stride), but no other part of it.
/// Every element is one sum in one order: the same bits for any number of threads.
template <class T>
void block_product(op op_a, op op_b, std::type_identity_t<matrix_view<const T>> a, std::type_identity_t<matrix_view<const T>> b,
                   const std::type_identity_t<product_begin<T>>& begin, matrix_view<T> c);

} // namespace flywheel::gpu
