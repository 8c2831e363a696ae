#include "gpu/kernels/layer_norm.hpp"

#include <cmath>

namespace flywheel::gpu {

template <class T>
void layer_norm_forward(matrix_view<const T> x, std::span<const T> gain, std::span<const T> shift, matrix_view<T> y,
                        std::span<T> mean, std::span<T> inverse_deviation) {
  const std::size_t width = x.columns;
  for (std::size_t i = 0; i < x.rows; ++i) {
    const T* from = x.row(i);
    T sum = 0, squares = 0;
    for (std::size_t j = 0; j < width; ++j)
      sum += from[j];
    const T m = sum / static_cast<T>(width);
    for (std::size_t j = 0; j < width; ++j)
      squares += (from[j] - m) * (from[j] - m);
    const T r = T(1) / std::sqrt(squares / static_cast<T>(width) + static_cast<T>(layer_norm_epsilon));
    T* to = y.row(i);
    for (std::size_t j = 0; j < width; ++j)
      to[j] = (from[j] - m) * r * gain[j] + shift[j];
    mean[i] = m;
    inverse_deviation[i] = r;
  }
}

template <class T>
void layer_norm_backward(matrix_view<const T> dy, matrix_view<const T> x, std::span<const T> gain, std::span<const T> mean,
                         std::span<const T> inverse_deviation, matrix_view<T> dx, std::span<T> dgain, std::span<T> dshift) {
  const std::size_t width = x.columns;
  for (std::size_t i = 0; i < x.rows; ++i) {
    const T *from = dy.row(i), *in = x.row(i);
    const T m = mean[i], r = inverse_deviation[i];
    // With n = (x - m) r and g = dy * gain: dx = r (g - mean(g) - n mean(g n)).
    T sum_g = 0, sum_gn = 0;
    for (std::size_t j = 0; j < width; ++j) {
      const T n = (in[j] - m) * r, g = from[j] * gain[j];
      sum_g += g;
      sum_gn += g * n;
      dgain[j] += from[j] * n;
      dshift[j] += from[j];
    }
    const T mean_g = sum_g / static_cast<T>(width), mean_gn = sum_gn / static_cast<T>(width);
    T* to = dx.row(i);
    for (std::size_t j = 0; j < width; ++j)
      to[j] = r * (from[j] * gain[j] - mean_g - (in[j] - m) * r * mean_gn);
  }
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void layer_norm_forward<T>(matrix_view<const T>, std::span<const T>, std::span<const T>, matrix_view<T>,    \
                                      std::span<T>, std::span<T>);                                                     \
  template void layer_norm_backward<T>(matrix_view<const T>, matrix_view<const T>, std::span<const T>,                 \
                                       std::span<const T>, std::span<const T>, matrix_view<T>, std::span<T>,           \
                                       std::span<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
