#include "gpu/kernels/rotary.hpp"

#include "cluster/base/assert.hpp"
#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

namespace flywheel::gpu {

namespace {
constexpr std::size_t rows_a_part = 16;
}

template <class T>
rotary_table<T>::rotary_table(std::size_t length, std::size_t head_width, double base)
    : length_(length), half_(head_width / 2), cosines_(length * half_), sines_(length * half_) {
  FLYWHEEL_ASSERT(head_width % 2 == 0, "a head turned in pairs has an even width");
  for (std::size_t i = 0; i < half_; ++i) {
    const double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(head_width));
    for (std::size_t t = 0; t < length; ++t) {
      cosines_[t * half_ + i] = static_cast<T>(std::cos(static_cast<double>(t) * frequency));
      sines_[t * half_ + i] = static_cast<T>(std::sin(static_cast<double>(t) * frequency));
    }
  }
}

template <class T> void rotary(matrix_view<T> x, std::size_t time, const std::type_identity_t<rotary_angles<T>>& angles, turn direction) {
  const std::size_t width = angles.head_width, half = width / 2;
  FLYWHEEL_ASSERT(time <= angles.length && x.columns % width == 0, "positions and heads the table knows");
  const T sign = direction == turn::forward ? T(1) : T(-1);
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        const T *cosine = angles.cosines + i % time * half, *sine = angles.sines + i % time * half;
        for (std::size_t h = 0; h < x.columns; h += width) {
          T *a = x.row(i) + h, *b = a + half;
#pragma omp simd
          for (std::size_t j = 0; j < half; ++j) {
            const T s = sign * sine[j], from_a = a[j], from_b = b[j];
            a[j] = from_a * cosine[j] - from_b * s;
            b[j] = from_b * cosine[j] + from_a * s;
          }
        }
      }
    });
  });
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template class rotary_table<T>;                                                                                      \
  template void rotary<T>(matrix_view<T>, std::size_t, const std::type_identity_t<rotary_angles<T>>&, turn);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
