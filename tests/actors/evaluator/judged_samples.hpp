#pragma once
// Judged rows with known answers.

#include "actors/evaluator/interval.hpp"
#include "cluster/base/random.hpp"

#include <cmath>

namespace flywheel::testing {

/// Binary rows of which `right` of `n` are answered rightly, spread evenly; every 4th is class 1.
inline judged_rows binary_rows(std::size_t n, std::size_t right) {
  judged_rows r{task_type::binary, 2, {}, {}};
  for (std::size_t i = 0; i < n; ++i) {
    const int truth = i % 4 == 0;
    const bool correct = (i + 1) * right / n > i * right / n;
    const float p = (truth == 1) == correct ? 0.9f : 0.1f;
    r.truth.push_back(truth);
    r.predicted.insert(r.predicted.end(), {1 - p, p});
  }
  return r;
}

/// Rows whose probability of class 1 is what is stated.
inline judged_rows calibrated_rows(std::size_t n, std::uint64_t seed) {
  auto random = random_source{seed};
  judged_rows r{task_type::binary, 2, {}, {}};
  for (std::size_t i = 0; i < n; ++i) {
    const double p = random.uniform();
    r.truth.push_back(random.uniform() < p);
    r.predicted.insert(r.predicted.end(), {static_cast<float>(1 - p), static_cast<float>(p)});
  }
  return r;
}

/// The same 80 numbers as in the SciPy lines of interval_test.cpp.
inline judged_rows regression_rows() {
  judged_rows r{task_type::regression, 0, {}, {}};
  for (int i = 0; i < 80; ++i) {
    const double x = (i * 7919) % 101 / 10.0;
    r.truth.push_back(x);
    r.predicted.push_back(static_cast<float>(x + std::sin(i * 1.7) * (1 + i % 5)));
  }
  return r;
}

} // namespace flywheel::testing
