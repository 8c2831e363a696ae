#include "gpu/kernels/linear.hpp"

#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>

namespace flywheel::gpu {

namespace {
constexpr std::size_t rows_a_part = 16, columns_a_part = 256;
}

template <class T>
void linear_forward(matrix_view<const T> x, matrix_view<const T> w, std::span<const T> b, matrix_view<T> y) {
  parallel_ranges(b.empty() ? 0 : y.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i)
      std::copy(b.begin(), b.end(), y.row(i));
  });
  gemm<T>(op::plain, op::plain, T(1), x, w, b.empty() ? T(0) : T(1), y);
}

template <class T>
void linear_backward(matrix_view<const T> dy, matrix_view<const T> x, matrix_view<const T> w, matrix_view<T> dx,
                     matrix_view<T> dw, std::span<T> db, gradient_write write) {
  if (dx.data != nullptr)
    gemm<T>(op::plain, op::transposed, T(1), dy, w, T(0), dx);
  gemm<T>(op::transposed, op::plain, T(1), x, dy, write == gradient_write::over ? T(0) : T(1), dw);
  add_column_sums(dy, db);
}

template <class T> void add_column_sums(matrix_view<const T> x, std::span<T> to) {
  // By columns: every sum has one owner and one order.
  parallel_ranges(to.size(), columns_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      T* sum = to.data();
      for (std::size_t i = 0; i < x.rows; ++i) {
        const T* from = x.row(i);
#pragma omp simd
        for (std::size_t j = first; j < last; ++j)
          sum[j] += from[j];
      }
    });
  });
}

template <class T> void add_matrix(matrix_view<const T> x, matrix_view<T> to) {
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        const T* from = x.row(i);
        T* sum = to.row(i);
#pragma omp simd
        for (std::size_t j = 0; j < x.columns; ++j)
          sum[j] += from[j];
      }
    });
  });
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void linear_forward<T>(matrix_view<const T>, matrix_view<const T>, std::span<const T>, matrix_view<T>);     \
  template void linear_backward<T>(matrix_view<const T>, matrix_view<const T>, matrix_view<const T>, matrix_view<T>,   \
                                   matrix_view<T>, std::span<T>, gradient_write);                                      \
  template void add_column_sums<T>(matrix_view<const T>, std::span<T>);                                                \
  template void add_matrix<T>(matrix_view<const T>, matrix_view<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
