#include "gpu/kernels/layer_norm.hpp"

#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

namespace flywheel::gpu {

namespace {
constexpr std::size_t rows_a_part = 16, columns_a_part = 128;
}

template <class T>
void layer_norm_forward(matrix_view<const T> x, std::span<const T> gain, std::span<const T> shift, matrix_view<T> y,
                        std::span<T> mean, std::span<T> inverse_deviation) {
  const std::size_t width = x.columns;
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        const T *from = x.row(i), *g = gain.data(), *b = shift.data();
        T sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (std::size_t j = 0; j < width; ++j)
          sum += from[j];
        const T m = sum / static_cast<T>(width);
#pragma omp simd reduction(+ : squares)
        for (std::size_t j = 0; j < width; ++j)
          squares += (from[j] - m) * (from[j] - m);
        const T r = T(1) / std::sqrt(squares / static_cast<T>(width) + static_cast<T>(layer_norm_epsilon));
        T* to = y.row(i);
#pragma omp simd
        for (std::size_t j = 0; j < width; ++j)
          to[j] = (from[j] - m) * r * g[j] + b[j];
        mean[i] = m;
        inverse_deviation[i] = r;
      }
    });
  });
}

template <class T>
void layer_norm_backward(matrix_view<const T> dy, matrix_view<const T> x, std::span<const T> gain, std::span<const T> mean,
                         std::span<const T> inverse_deviation, matrix_view<T> dx, std::span<T> dgain, std::span<T> dshift,
                         bool add) {
  const std::size_t width = x.columns;
  // Gain and shift first (dx may overwrite dy), by columns: every sum has one owner and one order.
  parallel_ranges(width, columns_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      T *to_gain = dgain.data(), *to_shift = dshift.data();
      for (std::size_t i = 0; i < x.rows; ++i) {
        const T *from = dy.row(i), *in = x.row(i);
        const T m = mean[i], r = inverse_deviation[i];
#pragma omp simd
        for (std::size_t j = first; j < last; ++j) {
          to_gain[j] += from[j] * ((in[j] - m) * r);
          to_shift[j] += from[j];
        }
      }
    });
  });
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        const T *from = dy.row(i), *in = x.row(i), *scale = gain.data();
        const T m = mean[i], r = inverse_deviation[i];
        // With n = (x - m) r and g = dy * gain: dx = r (g - mean(g) - n mean(g n)).
        T sum_g = 0, sum_gn = 0;
#pragma omp simd reduction(+ : sum_g, sum_gn)
        for (std::size_t j = 0; j < width; ++j) {
          const T g = from[j] * scale[j];
          sum_g += g;
          sum_gn += g * ((in[j] - m) * r);
        }
        const T mean_g = sum_g / static_cast<T>(width), mean_gn = sum_gn / static_cast<T>(width);
        T* to = dx.row(i);
        if (add) {
#pragma omp simd
          for (std::size_t j = 0; j < width; ++j)
            to[j] += r * (from[j] * scale[j] - mean_g - (in[j] - m) * r * mean_gn);
        } else {
#pragma omp simd
          for (std::size_t j = 0; j < width; ++j)
            to[j] = r * (from[j] * scale[j] - mean_g - (in[j] - m) * r * mean_gn);
        }
      }
    });
  });
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void layer_norm_forward<T>(matrix_view<const T>, std::span<const T>, std::span<const T>, matrix_view<T>,    \
                                      std::span<T>, std::span<T>);                                                     \
  template void layer_norm_backward<T>(matrix_view<const T>, matrix_view<const T>, std::span<const T>,                 \
                                       std::span<const T>, std::span<const T>, matrix_view<T>, std::span<T>,           \
                                       std::span<T>, bool);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
