#include "gpu/kernels/swiglu.hpp"

#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

namespace flywheel::gpu {

namespace {
constexpr std::size_t rows_a_part = 16;
}

template <class T> void swiglu_forward(matrix_view<const T> x, matrix_view<T> y) {
  const std::size_t width = y.columns;
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        const T *gate = x.row(i), *up = gate + width;
        T* to = y.row(i);
#pragma omp simd
        for (std::size_t j = 0; j < width; ++j)
          to[j] = gate[j] * sigmoid(gate[j]) * up[j];
      }
    });
  });
}

template <class T> void swiglu_backward(matrix_view<const T> dy, matrix_view<T> x) {
  const std::size_t width = dy.columns;
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        T *gate = x.row(i), *up = gate + width;
        const T* from = dy.row(i);
#pragma omp simd
        for (std::size_t j = 0; j < width; ++j) {
          const T s = sigmoid(gate[j]), silu = gate[j] * s;
          gate[j] = from[j] * up[j] * (s + silu * (T(1) - s));
          up[j] = from[j] * silu;
        }
      }
    });
  });
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void swiglu_forward<T>(matrix_view<const T>, matrix_view<T>);                                               \
  template void swiglu_backward<T>(matrix_view<const T>, matrix_view<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
