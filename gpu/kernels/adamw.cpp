#include "gpu/kernels/adamw.hpp"

#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

#include <vector>

namespace flywheel::gpu {

namespace {
// An update ends with a square root and a division: a small network's is worth sharing too.
constexpr std::size_t updates_a_part = 1u << 13, elements_a_part = 1u << 16;
}

template <class T>
void adamw(std::span<T> weights, std::span<const T> gradient, std::span<T> moment1, std::span<T> moment2, double rate,
           double decay, std::uint64_t step, const adamw_options& options) {
  const auto t = static_cast<double>(step);
  const T b1 = static_cast<T>(options.beta1), b2 = static_cast<T>(options.beta2), epsilon = static_cast<T>(options.epsilon);
  const T correct1 = static_cast<T>(1 / (1 - std::pow(options.beta1, t)));
  const T correct2 = static_cast<T>(1 / (1 - std::pow(options.beta2, t)));
  const T keep = static_cast<T>(1 - rate * decay), r = static_cast<T>(rate);
  parallel_ranges(weights.size(), updates_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      T *w = weights.data(), *m = moment1.data(), *v = moment2.data();
      const T* g = gradient.data();
#pragma omp simd
      for (std::size_t i = first; i < last; ++i) {
        m[i] = b1 * m[i] + (T(1) - b1) * g[i];
        v[i] = b2 * v[i] + (T(1) - b2) * g[i] * g[i];
        w[i] = keep * w[i] - r * (m[i] * correct1) / (std::sqrt(v[i] * correct2) + epsilon);
      }
    });
  });
}

template <class T> double gradient_norm(std::span<const T> gradient) {
  // Partial sums of fixed stretches, added in order: the same for any number of threads.
  static thread_local std::vector<double> sums;
  sums.assign((gradient.size() + elements_a_part - 1) / elements_a_part, 0);
  double* to = sums.data();
  parallel_ranges(gradient.size(), elements_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      double squares = 0;
      const T* g = gradient.data();
#pragma omp simd reduction(+ : squares)
      for (std::size_t i = first; i < last; ++i)
        squares += static_cast<double>(g[i]) * static_cast<double>(g[i]);
      to[first / elements_a_part] = squares;
    });
  });
  double squares = 0;
  for (const double s : sums)
    squares += s;
  return std::sqrt(squares);
}

template <class T> double clip_gradient(std::span<T> gradient, double norm_max) {
  const double norm = gradient_norm(std::span<const T>(gradient));
  if (norm > norm_max) {
    const T scale = static_cast<T>(norm_max / norm);
    parallel_ranges(gradient.size(), elements_a_part, [&](std::size_t first, std::size_t last) {
      vectorised([&] {
        T* g = gradient.data();
        for (std::size_t i = first; i < last; ++i)
          g[i] *= scale;
      });
    });
  }
  return norm;
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void adamw<T>(std::span<T>, std::span<const T>, std::span<T>, std::span<T>, double, double, std::uint64_t,  \
                         const adamw_options&);                                                                        \
  template double gradient_norm<T>(std::span<const T>);                                                                \
  template double clip_gradient<T>(std::span<T>, double);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
