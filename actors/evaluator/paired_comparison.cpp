#include "actors/evaluator/paired_comparison.hpp"

#include "cluster/base/random.hpp"
#include "cluster/base/text.hpp"
#include "cluster/statistics/distributions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace flywheel {
namespace {

constexpr std::array<std::string_view, 4> names{"better", "worse", "no difference", "inconclusive"};

std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", x);
  return text;
}

double value_of(metric_name m, const judged_rows& r) { return score(m, r.type, r.classes, r.truth, r.predicted); }

void count_disagreements(paired_comparison& c, const judged_rows& champion, const judged_rows& challenger) {
  for (std::size_t i = 0; i < champion.rows(); ++i) {
    const auto truth = static_cast<std::size_t>(champion.truth[i]);
    const bool a = champion.predicted_class(i) == truth, b = challenger.predicted_class(i) == truth;
    c.only_champion += a && !b;
    c.only_challenger += b && !a;
  }
}

/// McNemar's exact p, and the interval of a paired difference of proportions (normal; Agresti, Min 2005, with half an
/// observation added to each cell so that few disagreements do not look like certainty).
void mcnemar(paired_comparison& c) {
  c.method = "mcnemar exact";
  c.p_value = coin_test(c.only_challenger, c.only_champion + c.only_challenger);
  const double n = static_cast<double>(c.rows) + 2;
  const double b = static_cast<double>(c.only_challenger) + 0.5, a = static_cast<double>(c.only_champion) + 0.5;
  const double middle = (b - a) / n;
  const double error = std::sqrt(std::max(0.0, a + b - (b - a) * (b - a) / n)) / n;
  const double reach = error * normal_quantile(0.5 + 0.5 * c.confidence);
  c.range = {std::max(-1.0, middle - reach), std::min(1.0, middle + reach)};
}

void paired_bootstrap(paired_comparison& c, const judged_rows& champion, const judged_rows& challenger,
                      const comparison_options& o) {
  c.method = "paired bootstrap";
  auto random = random_source::derive(o.seed, "paired");
  std::vector<std::uint32_t> rows(champion.rows());
  std::vector<double> differences;
  for (std::uint32_t i = 0; i < o.resamples; ++i) {
    for (auto& r : rows)
      r = static_cast<std::uint32_t>(random.below(champion.rows()));
    const double d = value_of(c.metric, challenger.select(rows)) - value_of(c.metric, champion.select(rows));
    if (std::isfinite(d))
      differences.push_back(d);
  }
  if (differences.size() < 2) {
    c.range = {-std::abs(c.difference), std::abs(c.difference)};
    return;
  }
  std::sort(differences.begin(), differences.end());
  const double last = static_cast<double>(differences.size() - 1), tail = 0.5 * (1 - c.confidence);
  c.range = {differences[static_cast<std::size_t>(std::floor(tail * last))],
             differences[static_cast<std::size_t>(std::ceil((1 - tail) * last))]};
  // The share of resamples on the other side of zero, ties half, both sides.
  const auto [first, end] = std::equal_range(differences.begin(), differences.end(), 0.0);
  const double below = static_cast<double>(first - differences.begin()) + 0.5 * static_cast<double>(end - first);
  const double n = static_cast<double>(differences.size());
  c.p_value = std::min(1.0, 2 * (std::min(below, n - below) + 0.5) / (n + 1));
}

void conclude(paired_comparison& c, double margin) {
  const bool significant = c.p_value <= 1 - c.confidence;
  const bool ahead = (c.difference > 0) == higher_is_better(c.metric);
  const bool within = c.range.low >= -margin && c.range.high <= margin;
  c.result = significant && c.difference != 0 ? (ahead ? comparison_result::better : comparison_result::worse)
             : within                         ? comparison_result::no_difference
                                              : comparison_result::inconclusive;
  c.reason = std::string(name_of(c.result)) + ": the challenger's " + std::string(name_of(c.metric)) + " is " +
             number(c.challenger) + ", the champion's " + number(c.champion) + " on the same " +
             std::to_string(c.rows) + " rows; the difference " + number(c.difference) + " lies between " +
             number(c.range.low) + " and " + number(c.range.high) + " with " + format_percent(c.confidence, 0) +
             " confidence (" + c.method + ", p " + number(c.p_value) + ")";
  if (c.only_champion + c.only_challenger > 0)
    c.reason += "; only the challenger is right on " + std::to_string(c.only_challenger) + " rows, only the champion on " +
                std::to_string(c.only_champion);
  if (c.result == comparison_result::inconclusive)
    c.reason += "; the rows cannot rule out a difference of more than " + number(margin);
}

} // namespace

std::string_view name_of(comparison_result c) noexcept { return names[static_cast<std::size_t>(c)]; }

std::optional<comparison_result> comparison_result_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == name)
      return static_cast<comparison_result>(i);
  return std::nullopt;
}

result<paired_comparison> compare_paired(metric_name m, const judged_rows& champion, const judged_rows& challenger,
                                         const comparison_options& o) {
  if (champion.type != challenger.type || champion.classes != challenger.classes || champion.truth != challenger.truth)
    return {errc::invalid_argument, "champion and challenger were not judged on the same rows"};
  FLYWHEEL_CHECK(check(champion));
  FLYWHEEL_CHECK(check(challenger));
  if (!fits(m, champion.type))
    return {errc::invalid_argument, std::string(name_of(m)) + " does not fit this task"};
  if (champion.rows() == 0)
    return {errc::invalid_argument, "there are no rows to compare on"};
  paired_comparison c;
  c.metric = m;
  c.confidence = o.confidence;
  c.rows = champion.rows();
  c.champion = value_of(m, champion);
  c.challenger = value_of(m, challenger);
  c.difference = c.challenger - c.champion;
  if (champion.type != task_type::regression)
    count_disagreements(c, champion, challenger);
  if (m == metric_name::accuracy)
    mcnemar(c);
  else
    paired_bootstrap(c, champion, challenger, o);
  conclude(c, o.margin);
  return c;
}

} // namespace flywheel
