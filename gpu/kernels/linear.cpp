#include "gpu/kernels/linear.hpp"

#include "gpu/kernels/gemm.hpp"

#include <algorithm>

namespace flywheel::gpu {

template <class T>
void linear_forward(matrix_view<const T> x, matrix_view<const T> w, std::span<const T> b, matrix_view<T> y) {
  for (std::size_t i = 0; i < y.rows; ++i)
    std::copy(b.begin(), b.end(), y.row(i));
  gemm<T>(op::plain, op::plain, T(1), x, w, T(1), y);
}

template <class T>
void linear_backward(matrix_view<const T> dy, matrix_view<const T> x, matrix_view<const T> w, matrix_view<T> dx,
                     matrix_view<T> dw, std::span<T> db) {
  if (dx.data != nullptr)
    gemm<T>(op::plain, op::transposed, T(1), dy, w, T(0), dx);
  gemm<T>(op::transposed, op::plain, T(1), x, dy, T(1), dw);
  for (std::size_t i = 0; i < dy.rows; ++i) {
    const T* from = dy.row(i);
    for (std::size_t j = 0; j < db.size(); ++j)
      db[j] += from[j];
  }
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void linear_forward<T>(matrix_view<const T>, matrix_view<const T>, std::span<const T>, matrix_view<T>);     \
  template void linear_backward<T>(matrix_view<const T>, matrix_view<const T>, matrix_view<const T>, matrix_view<T>,   \
                                   matrix_view<T>, std::span<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
