#include "models/task.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

namespace flywheel {

namespace {

constexpr std::array<std::string_view, 3> task_names{"binary", "multiclass", "regression"};
constexpr std::array<std::string_view, 8> metric_names{"accuracy", "balanced_accuracy", "f1",  "auc",
                                                       "log_loss", "rmse",              "mae", "r2"};

template <class Names> int index_of(const Names& names, std::string_view name) noexcept {
  const auto at = std::find(names.begin(), names.end(), name);
  return at == names.end() ? -1 : static_cast<int>(at - names.begin());
}

/// Probabilities as rows of `classes` numbers.
struct class_view {
  std::size_t classes;
  std::span<const double> truth;
  std::span<const float> predicted;

  std::size_t rows() const { return truth.size(); }
  std::size_t label(std::size_t row) const { return static_cast<std::size_t>(truth[row]); }
  float probability(std::size_t row, std::size_t k) const { return predicted[row * classes + k]; }
  /// The most probable class; the lower index where two are equal.
  std::size_t chosen(std::size_t row) const {
    const auto p = predicted.subspan(row * classes, classes);
    return static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin());
  }
};

/// counts[k]: rows of class k, rows given class k, and rows where both hold.
struct class_counts {
  double actual = 0, chosen = 0, both = 0;
};

std::vector<class_counts> count_classes(const class_view& v) {
  std::vector<class_counts> counts(v.classes);
  for (std::size_t i = 0; i < v.rows(); ++i) {
    const auto actual = v.label(i), chosen = v.chosen(i);
    counts[actual].actual += 1;
    counts[chosen].chosen += 1;
    if (actual == chosen)
      counts[actual].both += 1;
  }
  return counts;
}

double accuracy(const class_view& v) {
  double right = 0;
  for (const auto& c : count_classes(v))
    right += c.both;
  return right / static_cast<double>(v.rows());
}

double balanced_accuracy(const class_view& v) {
  double sum = 0, present = 0;
  for (const auto& c : count_classes(v)) {
    if (c.actual == 0)
      continue;
    sum += c.both / c.actual;
    present += 1;
  }
  return sum / present;
}

double f1_of(const class_counts& c) {
  const double denominator = c.actual + c.chosen;
  return denominator == 0 ? 0 : 2 * c.both / denominator;
}

double f1(const class_view& v, task_type t) {
  const auto counts = count_classes(v);
  if (t == task_type::binary)
    return f1_of(counts[1]);
  double sum = 0, present = 0;
  for (const auto& c : counts) {
    if (c.actual == 0 && c.chosen == 0)
      continue;
    sum += f1_of(c);
    present += 1;
  }
  return sum / present;
}

/// Mann-Whitney U with mid-ranks for ties; NaN when one of the two sides is empty.
double auc_of_class(const class_view& v, std::size_t k) {
  std::vector<std::size_t> order(v.rows());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return v.probability(a, k) < v.probability(b, k); });
  double rank_sum = 0, positives = 0;
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last < order.size() && v.probability(order[last], k) == v.probability(order[first], k))
      ++last;
    const double mid_rank = 0.5 * static_cast<double>(first + 1 + last);
    for (std::size_t i = first; i < last; ++i) {
      if (v.label(order[i]) == k) {
        rank_sum += mid_rank;
        positives += 1;
      }
    }
    first = last;
  }
  const double negatives = static_cast<double>(v.rows()) - positives;
  if (positives == 0 || negatives == 0)
    return std::numeric_limits<double>::quiet_NaN();
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

double auc(const class_view& v, task_type t) {
  const std::size_t first = t == task_type::binary ? 1 : 0;
  double sum = 0, present = 0;
  for (std::size_t k = first; k < v.classes; ++k) {
    const double one = auc_of_class(v, k);
    if (std::isnan(one))
      continue;
    sum += one;
    present += 1;
  }
  return present == 0 ? 0.5 : sum / present;
}

double log_loss(const class_view& v) {
  constexpr double smallest = 1e-15;
  double sum = 0;
  for (std::size_t i = 0; i < v.rows(); ++i)
    sum -= std::log(std::clamp(static_cast<double>(v.probability(i, v.label(i))), smallest, 1 - smallest));
  return sum / static_cast<double>(v.rows());
}

double regression_score(metric_name m, std::span<const double> truth, std::span<const float> predicted) {
  const double n = static_cast<double>(truth.size());
  double squares = 0, absolutes = 0, mean = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double difference = truth[i] - static_cast<double>(predicted[i]);
    squares += difference * difference;
    absolutes += std::fabs(difference);
    mean += truth[i] / n;
  }
  if (m == metric_name::rmse)
    return std::sqrt(squares / n);
  if (m == metric_name::mae)
    return absolutes / n;
  double variation = 0;
  for (const double y : truth)
    variation += (y - mean) * (y - mean);
  if (variation == 0)
    return squares == 0 ? 1 : 0;
  return 1 - squares / variation;
}

} // namespace

std::string_view name_of(task_type t) noexcept { return task_names[static_cast<std::size_t>(t)]; }
std::string_view name_of(metric_name m) noexcept { return metric_names[static_cast<std::size_t>(m)]; }

std::optional<task_type> task_type_from_name(std::string_view name) noexcept {
  const int i = index_of(task_names, name);
  return i < 0 ? std::nullopt : std::optional{static_cast<task_type>(i)};
}

std::optional<metric_name> metric_from_name(std::string_view name) noexcept {
  const int i = index_of(metric_names, name);
  return i < 0 ? std::nullopt : std::optional{static_cast<metric_name>(i)};
}

bool higher_is_better(metric_name m) noexcept {
  return m != metric_name::log_loss && m != metric_name::rmse && m != metric_name::mae;
}

bool fits(metric_name m, task_type t) noexcept {
  const bool of_values = m == metric_name::rmse || m == metric_name::mae || m == metric_name::r2;
  return of_values == (t == task_type::regression);
}

double score(metric_name m, task_type t, std::size_t classes, const std::vector<double>& truth,
             const std::vector<float>& predicted) {
  FLYWHEEL_ASSERT(fits(m, t), "the metric does not fit the task");
  const std::size_t width = t == task_type::regression ? 1 : classes;
  FLYWHEEL_ASSERT(width >= 1 && predicted.size() == truth.size() * width, "one row of outputs per true value");
  if (truth.empty() || std::any_of(predicted.begin(), predicted.end(), [](float p) { return !std::isfinite(p); }))
    return std::numeric_limits<double>::quiet_NaN();
  if (t == task_type::regression)
    return regression_score(m, truth, predicted);
  const class_view v{classes, truth, predicted};
  for (const double label : truth)
    FLYWHEEL_ASSERT(label >= 0 && label < static_cast<double>(classes), "a true class is out of range");
  switch (m) {
  case metric_name::accuracy: return accuracy(v);
  case metric_name::balanced_accuracy: return balanced_accuracy(v);
  case metric_name::f1: return f1(v, t);
  case metric_name::auc: return auc(v, t);
  default: return log_loss(v);
  }
}

} // namespace flywheel
