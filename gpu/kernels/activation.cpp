#include "gpu/kernels/activation.hpp"

#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

namespace flywheel::gpu {

namespace {

template <class T> T relu(T x) { return x > T(0) ? x : T(0); }
template <class T> T relu_slope(T x) { return x > T(0) ? T(1) : T(0); }

// gelu(x) = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3)
template <class T> constexpr T root = T(0.7978845608028654);
template <class T> constexpr T cubic = T(0.044715);

template <class T> T gelu(T x) { return T(0.5) * x * (T(1) + fast_tanh(root<T> * (x + cubic<T> * x * x * x))); }
template <class T> T gelu_slope(T x) {
  const T t = fast_tanh(root<T> * (x + cubic<T> * x * x * x));
  return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * root<T> * (T(1) + T(3) * cubic<T> * x * x);
}

constexpr std::size_t rows_a_part = 16;

template <class T, class F> void each(matrix_view<const T> x, matrix_view<T> y, F f) {
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        const T* from = x.row(i);
        T* to = y.row(i);
#pragma omp simd
        for (std::size_t j = 0; j < x.columns; ++j)
          to[j] = f(from[j]);
      }
    });
  });
}

template <class T, class F> void each_slope(matrix_view<const T> dy, matrix_view<const T> x, matrix_view<T> dx, F f) {
  parallel_ranges(x.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i) {
        const T *from = dy.row(i), *in = x.row(i);
        T* to = dx.row(i);
#pragma omp simd
        for (std::size_t j = 0; j < x.columns; ++j)
          to[j] = from[j] * f(in[j]);
      }
    });
  });
}

} // namespace

template <class T> void activation_forward(activation f, matrix_view<const T> x, matrix_view<T> y) {
  if (f == activation::relu)
    each(x, y, [](T v) { return relu(v); });
  else
    each(x, y, [](T v) { return gelu(v); });
}

template <class T>
void activation_backward(activation f, matrix_view<const T> dy, matrix_view<const T> x, matrix_view<T> dx) {
  if (f == activation::relu)
    each_slope(dy, x, dx, [](T v) { return relu_slope(v); });
  else
    each_slope(dy, x, dx, [](T v) { return gelu_slope(v); });
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void activation_forward<T>(activation, matrix_view<const T>, matrix_view<T>);                               \
  template void activation_backward<T>(activation, matrix_view<const T>, matrix_view<const T>, matrix_view<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
