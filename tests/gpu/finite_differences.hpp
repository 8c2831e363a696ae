#pragma once
// A gradient held against central differences, in double.

#include "cluster/base/random.hpp"

#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <span>
#include <string>
#include <vector>

namespace flywheel::gpu::test {

inline std::vector<double> random_values(std::size_t n, std::uint64_t seed, double scale = 1) {
  random_source random{seed};
  std::vector<double> values(n);
  for (auto& v : values)
    v = scale * random.normal();
  return values;
}

/// For each element of `at` (or every `stride`-th): (f(x+h) - f(x-h)) / 2h against `gradient`, relative to the larger of
/// 1e-3 and their size.
inline void expect_gradient(std::span<double> at, std::span<const double> gradient, const std::function<double()>& f,
                            const std::string& what, std::size_t stride = 1, double bound = 1e-6) {
  constexpr double h = 1e-5;
  ASSERT_EQ(at.size(), gradient.size());
  double largest = 0;
  for (std::size_t i = 0; i < at.size(); i += stride) {
    const double x = at[i];
    at[i] = x + h;
    const double above = f();
    at[i] = x - h;
    const double below = f();
    at[i] = x;
    const double expected = (above - below) / (2 * h);
    const double size = std::max({std::fabs(expected), std::fabs(gradient[i]), 1e-3});
    EXPECT_LT(std::fabs(expected - gradient[i]) / size, bound)
        << what << "[" << i << "]: differences say " << expected << ", backward says " << gradient[i];
    largest = std::max(largest, std::fabs(expected));
  }
  EXPECT_GT(largest, 0) << what << ": a gradient of zeros tests nothing";
}

/// A loss that weighs every output differently, so that no mix-up of elements goes unseen: sum of c_i y_i + y_i^2 / 2.
struct probe {
  std::vector<double> weights;
  explicit probe(std::size_t n, std::uint64_t seed = 99) : weights(random_values(n, seed)) {}
  double loss(std::span<const double> y) const {
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i)
      sum += weights[i] * y[i] + 0.5 * y[i] * y[i];
    return sum;
  }
  std::vector<double> gradient(std::span<const double> y) const {
    std::vector<double> g(y.size());
    for (std::size_t i = 0; i < y.size(); ++i)
      g[i] = weights[i] + y[i];
    return g;
  }
};

} // namespace flywheel::gpu::test
