#include "gpu/kernels/rms_norm.hpp"

#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

namespace flywheel::gpu {

namespace {
constexpr std::size_t rows_a_part = 16, columns_a_part = 128;
}

template <class T>
void rms_norm_forward(matrix_view<const T> x, std::span<const T> gain, matrix_view<T> y, std::span<T> inverse_root) {
  const std::size_t width = x.columns;
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        const T *from = x.row(i), *g = gain.data();
        T squares = 0;
#pragma omp simd reduction(+ : squares)
        for (std::size_t j = 0; j < width; ++j)
          squares += from[j] * from[j];
        const T r = T(1) / std::sqrt(squares / static_cast<T>(width) + static_cast<T>(rms_norm_epsilon));
        T* to = y.row(i);
        for (std::size_t j = 0; j < width; ++j)
          to[j] = from[j] * r * g[j];
        inverse_root[i] = r;
      }
    });
  });
}

template <class T>
void rms_norm_backward(matrix_view<const T> dy, matrix_view<const T> x, std::span<const T> gain,
                       std::span<const T> inverse_root, matrix_view<T> dx, std::span<T> dgain, bool add) {
  const std::size_t width = x.columns;
  // The gain's gradient first (dx may overwrite dy), by columns: every sum has one owner and one order.
  parallel_ranges(width, columns_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      T* to = dgain.data();
      for (std::size_t i = 0; i < x.rows; ++i) {
        const T *from = dy.row(i), *in = x.row(i);
        const T r = inverse_root[i];
#pragma omp simd
        for (std::size_t j = first; j < last; ++j)
          to[j] += from[j] * in[j] * r;
      }
    });
  });
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        // With n = x r and g = dy * gain: dx = r (g - n mean(g n)).
        const T *from = dy.row(i), *in = x.row(i), *g = gain.data();
        const T r = inverse_root[i];
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::size_t j = 0; j < width; ++j)
          sum += from[j] * g[j] * in[j];
        const T mean = sum * r * r / static_cast<T>(width);
        T* to = dx.row(i);
        if (add) {
#pragma omp simd
          for (std::size_t j = 0; j < width; ++j)
            to[j] += r * (from[j] * g[j] - in[j] * mean);
        } else {
#pragma omp simd
          for (std::size_t j = 0; j < width; ++j)
            to[j] = r * (from[j] * g[j] - in[j] * mean);
        }
      }
    });
  });
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void rms_norm_forward<T>(matrix_view<const T>, std::span<const T>, matrix_view<T>, std::span<T>);           \
  template void rms_norm_backward<T>(matrix_view<const T>, matrix_view<const T>, std::span<const T>,                   \
                                     std::span<const T>, matrix_view<T>, std::span<T>, bool);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
