#include "gpu/kernels/sgd.hpp"

#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

namespace flywheel::gpu {

namespace {
constexpr std::size_t elements_a_part = 1u << 16;
}

template <class T>
void sgd(std::span<T> weights, std::span<const T> gradient, std::span<T> velocity, double rate, double decay,
         const sgd_options& options) {
  const T keep = static_cast<T>(1 - rate * decay), r = static_cast<T>(rate), momentum = static_cast<T>(options.momentum);
  const T ahead = options.nesterov ? momentum : T(1), now = options.nesterov ? T(1) : T(0);
  parallel_ranges(weights.size(), elements_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      T *w = weights.data(), *v = velocity.data();
      const T* g = gradient.data();
#pragma omp simd
      for (std::size_t i = first; i < last; ++i) {
        v[i] = momentum * v[i] + g[i];
        w[i] = keep * w[i] - r * (now * g[i] + ahead * v[i]);
      }
    });
  });
}

template void sgd<float>(std::span<float>, std::span<const float>, std::span<float>, double, double, const sgd_options&);
template void sgd<double>(std::span<double>, std::span<const double>, std::span<double>, double, double, const sgd_options&);

} // namespace flywheel::gpu
