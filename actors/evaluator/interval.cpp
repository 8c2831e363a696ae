#include "actors/evaluator/interval.hpp"

#include "cluster/base/random.hpp"
#include "cluster/base/text.hpp"
#include "cluster/statistics/distributions.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace flywheel {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double value_of(metric_name m, const judged_rows& r) { return score(m, r.type, r.classes, r.truth, r.predicted); }

std::uint64_t right_answers(const judged_rows& r) {
  std::uint64_t right = 0;
  for (std::size_t i = 0; i < r.rows(); ++i)
    right += r.predicted_class(i) == static_cast<std::size_t>(r.truth[i]);
  return right;
}

std::vector<double> resampled(metric_name m, const judged_rows& r, std::uint32_t resamples, std::uint64_t seed) {
  auto random = random_source::derive(seed, "bootstrap");
  std::vector<std::uint32_t> rows(r.rows());
  std::vector<double> values;
  for (std::uint32_t b = 0; b < resamples; ++b) {
    for (auto& i : rows)
      i = static_cast<std::uint32_t>(random.below(r.rows()));
    if (const double v = value_of(m, r.select(rows)); std::isfinite(v))
      values.push_back(v);
  }
  std::sort(values.begin(), values.end());
  return values;
}

/// Skewness of the leave-a-group-out values over six: how fast the error grows with the value.
double acceleration(metric_name m, const judged_rows& r) {
  const std::size_t groups = std::min<std::size_t>(100, r.rows());
  std::vector<double> left_out;
  for (std::size_t g = 0; g < groups; ++g) {
    std::vector<std::uint32_t> rows;
    for (std::size_t i = 0; i < r.rows(); ++i)
      if (i % groups != g)
        rows.push_back(static_cast<std::uint32_t>(i));
    if (const double v = value_of(m, r.select(rows)); std::isfinite(v))
      left_out.push_back(v);
  }
  if (left_out.size() < 2)
    return 0;
  const double mean =
      std::accumulate(left_out.begin(), left_out.end(), 0.0) / static_cast<double>(left_out.size());
  double squares = 0, cubes = 0;
  for (const double v : left_out) {
    squares += (mean - v) * (mean - v);
    cubes += (mean - v) * (mean - v) * (mean - v);
  }
  return squares > 0 ? cubes / (6 * std::pow(squares, 1.5)) : 0;
}

/// The value below which a share `p` of the sorted values lies, interpolated.
double quantile(const std::vector<double>& sorted, double p) {
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(at));
  const auto above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

interval bca(const std::vector<double>& sorted, double value, double a, double confidence) {
  if (sorted.front() == sorted.back())
    return {sorted.front(), sorted.back()};
  // Ties with the value count half, so that a discrete metric is not taken for biased.
  const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), value);
  const double below = static_cast<double>(first - sorted.begin()) + 0.5 * static_cast<double>(last - first);
  const double n = static_cast<double>(sorted.size());
  const double z0 = normal_quantile(std::clamp(below / n, 0.5 / n, 1 - 0.5 / n));
  const auto adjusted = [&](double p) {
    const double z = z0 + normal_quantile(p);
    const double denominator = 1 - a * z;
    return denominator > 0.05 ? normal_cdf(z0 + z / denominator) : normal_cdf(z);
  };
  const double tail = 0.5 * (1 - confidence);
  return {quantile(sorted, adjusted(tail)), quantile(sorted, adjusted(1 - tail))};
}

} // namespace

judged_rows judged_rows::select(std::span<const std::uint32_t> chosen) const {
  judged_rows r{type, classes, {}, {}};
  const std::size_t w = width();
  r.truth.reserve(chosen.size());
  r.predicted.reserve(chosen.size() * w);
  for (const auto i : chosen) {
    r.truth.push_back(truth[i]);
    const auto at = predicted.begin() + static_cast<std::ptrdiff_t>(i * w);
    r.predicted.insert(r.predicted.end(), at, at + static_cast<std::ptrdiff_t>(w));
  }
  return r;
}

std::size_t judged_rows::predicted_class(std::size_t row) const noexcept {
  const auto at = predicted.begin() + static_cast<std::ptrdiff_t>(row * classes);
  return static_cast<std::size_t>(std::max_element(at, at + static_cast<std::ptrdiff_t>(classes)) - at);
}

status check(const judged_rows& r) {
  if (r.type != task_type::regression && r.classes < 2)
    return {errc::invalid_data, "a classification needs two classes, and there are " + std::to_string(r.classes)};
  if (r.predicted.size() != r.rows() * r.width())
    return {errc::invalid_data, std::to_string(r.predicted.size()) + " predicted values for " +
                                    std::to_string(r.rows()) + " rows of " + std::to_string(r.width())};
  for (std::size_t i = 0; i < r.rows(); ++i) {
    const double t = r.truth[i];
    const bool fits = r.type == task_type::regression
                          ? std::isfinite(t)
                          : t >= 0 && t < static_cast<double>(r.classes) && t == std::floor(t);
    if (!fits)
      return {errc::invalid_data, "row " + std::to_string(i) + ": the true value " + format_number(t) +
                                      (r.type == task_type::regression ? " is not finite" : " is no class")};
  }
  for (std::size_t i = 0; i < r.predicted.size(); ++i)
    if (!std::isfinite(r.predicted[i]))
      return {errc::invalid_data, "row " + std::to_string(i / r.width()) + ": a predicted value is not finite"};
  return success();
}

interval wilson_interval(std::uint64_t successes, std::uint64_t n, double confidence) {
  if (n == 0)
    return {0, 1};
  const double z = normal_quantile(0.5 + 0.5 * confidence);
  const double count = static_cast<double>(n);
  const double p = static_cast<double>(successes) / count;
  const double scale = 1 / (1 + z * z / count);
  const double middle = scale * (p + z * z / (2 * count));
  const double reach = scale * z * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count));
  return {successes == 0 ? 0 : middle - reach, successes == n ? 1 : middle + reach};
}

metric_estimate estimate(metric_name m, const judged_rows& r, const interval_options& o) {
  metric_estimate e;
  e.metric = m;
  e.confidence = o.confidence;
  e.rows = r.rows();
  e.value = r.rows() == 0 ? nan : value_of(m, r);
  e.range = {nan, nan};
  e.method = "none";
  if (r.rows() < 2 || !std::isfinite(e.value))
    return e;
  if (m == metric_name::accuracy) {
    e.range = wilson_interval(right_answers(r), r.rows(), o.confidence);
    e.method = "wilson";
    return e;
  }
  const std::uint64_t affordable = o.work_max / r.rows();
  e.resamples = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(o.resamples, std::max<std::uint64_t>(affordable, std::min(o.resamples, 200u))));
  const auto values = resampled(m, r, e.resamples, o.seed);
  if (values.size() < 2)
    return e;
  e.range = bca(values, e.value, acceleration(m, r), o.confidence);
  e.method = "bootstrap bca";
  return e;
}

double confidence_of_reaching(const metric_estimate& e, double threshold) {
  if (!std::isfinite(e.range.low) || !std::isfinite(e.range.high) || !std::isfinite(threshold))
    return nan;
  const double sign = higher_is_better(e.metric) ? 1 : -1;
  double error = e.range.half_width() / normal_quantile(0.5 + 0.5 * e.confidence);
  if (e.method == "wilson" && threshold > 0 && threshold < 1)
    error = std::sqrt(threshold * (1 - threshold) / static_cast<double>(e.rows));
  if (error <= 0)
    return sign * (e.value - threshold) >= 0 ? 1 : 0;
  return normal_cdf(sign * (e.value - threshold) / error);
}

} // namespace flywheel
