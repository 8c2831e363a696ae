#pragma once
// Test functions for samplers, each to be minimised, and the loop of a study without pruning.

#include "actors/hpo/sampler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>

namespace flywheel::testing {

struct objective {
  std::string name;
  search_space space;
  std::function<double(const param_set&)> value;
};

inline double real(const param_set& p, const std::string& name) { return std::get<double>(p.at(name)); }

inline param_range range(double low, double high, bool log = false) {
  return {param_range::kind::real, low, high, log, {}};
}
inline param_range whole(double low, double high, bool log = false) {
  return {param_range::kind::integer, low, high, log, {}};
}
inline param_range choice(std::vector<std::string> of) { return {param_range::kind::choice, 0, 1, false, std::move(of)}; }

/// Five parameters in [-5, 5], least at 1.
inline objective sphere() {
  objective o{"sphere", {}, {}};
  for (int i = 0; i < 5; ++i)
    o.space["x" + std::to_string(i)] = range(-5, 5);
  o.value = [](const param_set& p) {
    double sum = 0;
    for (const auto& [name, v] : p)
      sum += (std::get<double>(v) - 1) * (std::get<double>(v) - 1);
    return sum;
  };
  return o;
}

/// Branin's function (Dixon, Szegoe 1978): three equal minima, 0.397887.
inline objective branin() {
  return {"branin", {{"x", range(-5, 10)}, {"y", range(0, 15)}}, [](const param_set& p) {
            constexpr double pi = std::numbers::pi;
            const double x = real(p, "x"), y = real(p, "y");
            const double a = y - 5.1 / (4 * pi * pi) * x * x + 5 / pi * x - 6;
            return a * a + 10 * (1 - 1 / (8 * pi)) * std::cos(x) + 10;
          }};
}

/// A choice, an integer and a log-scaled rate whose best value depends on the choice; least is 0.
inline objective mixed() {
  return {"mixed",
          {{"kind", choice({"a", "b", "c", "d"})}, {"depth", whole(1, 10)}, {"rate", range(1e-4, 1, true)}},
          [](const param_set& p) {
            const auto& kind = std::get<std::string>(p.at("kind"));
            const double offset = kind == "a" ? 1.5 : kind == "b" ? 0 : kind == "c" ? 0.7 : 2;
            const double target = kind == "b" ? -2 : -1;
            const double miss = std::log10(real(p, "rate")) - target;
            return miss * miss +
                   0.3 * std::abs(static_cast<double>(std::get<std::int64_t>(p.at("depth"))) - 7) + offset;
          }};
}

/// Hartmann's function in six dimensions (Dixon, Szegoe 1978): least is -3.32237.
inline objective hartmann6() {
  objective o{"hartmann6", {}, {}};
  for (int i = 0; i < 6; ++i)
    o.space["x" + std::to_string(i)] = range(0, 1);
  o.value = [](const param_set& p) {
    static constexpr double a[4][6] = {
        {10, 3, 17, 3.5, 1.7, 8}, {0.05, 10, 17, 0.1, 8, 14}, {3, 3.5, 1.7, 10, 17, 8}, {17, 8, 0.05, 10, 0.1, 14}};
    static constexpr double b[4][6] = {{1312, 1696, 5569, 124, 8283, 5886},
                                       {2329, 4135, 8307, 3736, 1004, 9991},
                                       {2348, 1451, 3522, 2883, 3047, 6650},
                                       {4047, 8828, 8732, 5743, 1091, 381}};
    static constexpr double c[4] = {1.0, 1.2, 3.0, 3.2};
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
      double d = 0;
      for (int j = 0; j < 6; ++j) {
        const double x = real(p, "x" + std::to_string(j)) - 1e-4 * b[i][j];
        d += a[i][j] * x * x;
      }
      sum -= c[i] * std::exp(-d);
    }
    return sum;
  };
  return o;
}

/// The least value after `trials` trials, one after the other.
inline double best_after(const sampler& s, const objective& o, std::uint32_t trials, std::uint64_t seed) {
  sampler_history h;
  h.maximise = false;
  double best = std::numeric_limits<double>::infinity();
  for (std::uint32_t n = 0; n < trials; ++n) {
    auto next = s.propose(o.space, h, seed, n);
    if (next.exhausted)
      break;
    const double v = o.value(next.params);
    best = std::min(best, v);
    h.trials.push_back({n, std::move(next.params), trial_outcome::completed, v, 1});
  }
  return best;
}

inline double median(std::vector<double> xs) {
  std::sort(xs.begin(), xs.end());
  const std::size_t n = xs.size();
  return n % 2 ? xs[n / 2] : 0.5 * (xs[n / 2 - 1] + xs[n / 2]);
}

inline double median_best(const sampler& s, const objective& o, std::uint32_t trials, std::uint64_t studies) {
  std::vector<double> best;
  for (std::uint64_t seed = 1; seed <= studies; ++seed)
    best.push_back(best_after(s, o, trials, seed));
  return median(std::move(best));
}

} // namespace flywheel::testing
