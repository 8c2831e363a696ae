#include "gpu/kernels/activation.hpp"

#include <cmath>

namespace flywheel::gpu {

namespace {

template <class T> T relu(T x) { return x > T(0) ? x : T(0); }
template <class T> T relu_slope(T x) { return x > T(0) ? T(1) : T(0); }

// gelu(x) = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3)
template <class T> constexpr T root = T(0.7978845608028654);
template <class T> constexpr T cubic = T(0.044715);

template <class T> T gelu(T x) { return T(0.5) * x * (T(1) + std::tanh(root<T> * (x + cubic<T> * x * x * x))); }
template <class T> T gelu_slope(T x) {
  const T t = std::tanh(root<T> * (x + cubic<T> * x * x * x));
  return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * root<T> * (T(1) + T(3) * cubic<T> * x * x);
}

template <class T, class F> void each(matrix_view<const T> x, matrix_view<T> y, F f) {
  for (std::size_t i = 0; i < x.rows; ++i) {
    const T* from = x.row(i);
    T* to = y.row(i);
    for (std::size_t j = 0; j < x.columns; ++j)
      to[j] = f(from[j]);
  }
}

template <class T, class F> void each_slope(matrix_view<const T> dy, matrix_view<const T> x, matrix_view<T> dx, F f) {
  for (std::size_t i = 0; i < x.rows; ++i) {
    const T *from = dy.row(i), *in = x.row(i);
    T* to = dx.row(i);
    for (std::size_t j = 0; j < x.columns; ++j)
      to[j] = from[j] * f(in[j]);
  }
}

} // namespace

template <class T> void activation_forward(activation f, matrix_view<const T> x, matrix_view<T> y) {
  if (f == activation::relu)
    each(x, y, relu<T>);
  else
    each(x, y, gelu<T>);
}

template <class T>
void activation_backward(activation f, matrix_view<const T> dy, matrix_view<const T> x, matrix_view<T> dx) {
  if (f == activation::relu)
    each_slope(dy, x, dx, relu_slope<T>);
  else
    each_slope(dy, x, dx, gelu_slope<T>);
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void activation_forward<T>(activation, matrix_view<const T>, matrix_view<T>);                               \
  template void activation_backward<T>(activation, matrix_view<const T>, matrix_view<const T>, matrix_view<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
