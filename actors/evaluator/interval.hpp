#pragma once
// How sure a measured metric is. Pure: randomness is a seed, and the number of resamples is in the answer.

#include "models/task.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace flywheel {

/// Predictions on rows whose truth is known, as models/task.hpp's score() takes them.
struct judged_rows {
  task_type type = task_type::binary;
  std::size_t classes = 2;        ///< 0 for regression
  std::vector<double> truth;
  std::vector<float> predicted;   ///< rows x classes (or x 1), row-major
  std::size_t rows() const noexcept { return truth.size(); }
  std::size_t width() const noexcept { return type == task_type::regression ? 1 : classes; }
  judged_rows select(std::span<const std::uint32_t> rows) const;
  /// The class with the largest probability; the lower index on a tie.
  std::size_t predicted_class(std::size_t row) const noexcept;
};
/// invalid_data naming the row: sizes do not fit, a truth is no class, a prediction is not finite.
status check(const judged_rows& r);

struct interval {
  double low = 0, high = 0;
  double half_width() const noexcept { return 0.5 * (high - low); }
  bool contains(double x) const noexcept { return low <= x && x <= high; }
  bool operator==(const interval&) const = default;
};

/// Wilson, "Probable inference, the law of succession, and statistical inference" (1927): the score interval of a
/// proportion. [0, 1] for n = 0.
interval wilson_interval(std::uint64_t successes, std::uint64_t n, double confidence);

struct metric_estimate {
  metric_name metric = metric_name::accuracy;
  double value = 0;               ///< nan if the metric is not defined on these rows
  interval range;                 ///< at `confidence`; [nan, nan] if there is none
  double confidence = 0.95;
  std::uint64_t rows = 0;
  std::string method;             ///< "wilson", "bootstrap bca" or "none"
  std::uint32_t resamples = 0;    ///< of the bootstrap
};

struct interval_options {
  double confidence = 0.95;
  std::uint64_t seed = 1;
  std::uint32_t resamples = 1000;
  /// Rows times resamples beyond which fewer resamples are drawn (never below 200), so that a million rows take seconds.
  std::uint64_t work_max = 20'000'000;
};

/// Accuracy: Wilson. Every other metric: the bootstrap over rows with bias correction and acceleration (BCa; Efron,
/// "Better bootstrap confidence intervals", 1987), the acceleration by a jackknife over at most 100 groups of rows.
/// Fewer than 2 rows: no interval.
metric_estimate estimate(metric_name m, const judged_rows& r, const interval_options& o);

/// How sure it is that the true value is at least as good as `threshold`: for accuracy by the score test's normal
/// approximation; otherwise from the interval, taken as normal. nan if there is no interval.
double confidence_of_reaching(const metric_estimate& e, double threshold);

} // namespace flywheel
