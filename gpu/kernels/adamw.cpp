#include "gpu/kernels/adamw.hpp"

#include <cmath>

namespace flywheel::gpu {

template <class T>
void adamw(std::span<T> weights, std::span<const T> gradient, std::span<T> moment1, std::span<T> moment2, double rate,
           double decay, std::uint64_t step, const adamw_options& options) {
  const auto t = static_cast<double>(step);
  const T b1 = static_cast<T>(options.beta1), b2 = static_cast<T>(options.beta2), epsilon = static_cast<T>(options.epsilon);
  const T correct1 = static_cast<T>(1 / (1 - std::pow(options.beta1, t)));
  const T correct2 = static_cast<T>(1 / (1 - std::pow(options.beta2, t)));
  const T keep = static_cast<T>(1 - rate * decay), r = static_cast<T>(rate);
  T *w = weights.data(), *m = moment1.data(), *v = moment2.data();
  const T* g = gradient.data();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    m[i] = b1 * m[i] + (T(1) - b1) * g[i];
    v[i] = b2 * v[i] + (T(1) - b2) * g[i] * g[i];
    w[i] = keep * w[i] - r * (m[i] * correct1) / (std::sqrt(v[i] * correct2) + epsilon);
  }
}

template <class T> double clip_gradient(std::span<T> gradient, double norm_max) {
  double squares = 0;
  for (const T g : gradient)
    squares += static_cast<double>(g) * static_cast<double>(g);
  const double norm = std::sqrt(squares);
  if (norm > norm_max) {
    const T scale = static_cast<T>(norm_max / norm);
    for (T& g : gradient)
      g *= scale;
  }
  return norm;
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void adamw<T>(std::span<T>, std::span<const T>, std::span<T>, std::span<T>, double, double, std::uint64_t,  \
                         const adamw_options&);                                                                        \
  template double clip_gradient<T>(std::span<T>, double);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
