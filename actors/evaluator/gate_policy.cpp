#include "actors/evaluator/gate_policy.hpp"

#include "cluster/base/text.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

namespace flywheel {
namespace {

constexpr std::array<std::string_view, 3> names{"pass", "fail", "inconclusive"};

std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", x);
  return text;
}

double tolerance_of(metric_name m, double threshold, const gate_options& o) {
  const bool scaled = m == metric_name::rmse || m == metric_name::mae || m == metric_name::log_loss;
  return scaled ? o.half_width_max * std::abs(threshold) : o.half_width_max;
}

} // namespace

std::string_view name_of(gate_result g) noexcept { return names[static_cast<std::size_t>(g)]; }

std::optional<gate_result> gate_result_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == name)
      return static_cast<gate_result>(i);
  return std::nullopt;
}

gate_verdict judge_gate(const metric_estimate& e, double threshold, const gate_options& o) {
  gate_verdict v;
  v.threshold = threshold;
  v.reached_with = confidence_of_reaching(e, threshold);
  const std::string metric{name_of(e.metric)};
  const std::string rows = std::to_string(e.rows) + (e.rows == 1 ? " row" : " rows");
  if (e.rows < o.rows_min) {
    v.reason = "inconclusive: " + rows + " are too few to judge by (at least " + std::to_string(o.rows_min) + ")";
    return v;
  }
  if (!std::isfinite(e.value) || !std::isfinite(e.range.low) || !std::isfinite(e.range.high)) {
    v.reason = "inconclusive: " + metric + " is not defined on these " + rows;
    return v;
  }
  const std::string seen = metric + " " + number(e.value) + " on " + rows + " (" +
                           format_percent(e.confidence, 0) + " interval " + number(e.range.low) + " to " +
                           number(e.range.high) + ")";
  const bool up = higher_is_better(e.metric);
  const double tolerance = tolerance_of(e.metric, threshold, o);
  if (e.range.contains(threshold) && e.range.half_width() > tolerance) {
    v.reason = "inconclusive: " + seen + " holds the threshold " + number(threshold) + " and reaches " +
               number(e.range.half_width()) + " to a side, more than " + number(tolerance) +
               ": more rows are needed to tell";
    return v;
  }
  const bool reached = up ? e.value >= threshold : e.value <= threshold;
  v.result = reached ? gate_result::pass : gate_result::fail;
  v.reason = std::string(reached ? "pass: " : "fail: ") + seen + (reached ? " reaches " : " misses ") +
             (up ? "the threshold " : "the limit ") + number(threshold) +
             (reached ? "" : " by " + number(std::abs(e.value - threshold)));
  v.reason += e.range.contains(threshold)
                  ? "; the rule is the measured value, and the true value reaches it with " +
                        format_percent(v.reached_with, 0) + " confidence"
                  : "; the whole interval is on that side";
  return v;
}

gate_verdict combine_gates(const std::vector<named_gate>& gates) {
  gate_verdict all;
  all.result = gate_result::pass;
  all.reached_with = std::numeric_limits<double>::quiet_NaN();
  if (gates.empty()) {
    all.reason = "pass: nothing was asked for";
    return all;
  }
  all.threshold = gates.front().verdict.threshold;
  all.reached_with = gates.front().verdict.reached_with;
  const named_gate* telling = &gates.front();
  for (const auto& g : gates) {
    const auto r = g.verdict.result;
    const bool worse = r == gate_result::fail ? all.result != gate_result::fail
                                              : r == gate_result::inconclusive && all.result == gate_result::pass;
    if (!worse)
      continue;
    all.result = r;
    telling = &g;
  }
  std::size_t passed = 0;
  for (const auto& g : gates)
    passed += g.verdict.result == gate_result::pass;
  all.reason = gates.size() == 1 ? telling->verdict.reason
                                 : telling->name + ": " + telling->verdict.reason + " (" + std::to_string(passed) +
                                       " of " + std::to_string(gates.size()) + " gates pass)";
  return all;
}

} // namespace flywheel
