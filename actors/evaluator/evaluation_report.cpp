#include "actors/evaluator/evaluation_report.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace flywheel {
namespace {

constexpr metric_name all_metrics[] = {metric_name::accuracy, metric_name::balanced_accuracy, metric_name::f1,
                                       metric_name::auc,      metric_name::log_loss,          metric_name::rmse,
                                       metric_name::mae,      metric_name::r2};

status check_request(const evaluation_request& q) {
  FLYWHEEL_CHECK(check(q.rows));
  if (q.rows.rows() == 0)
    return {errc::invalid_data, "there are no held-out rows to judge by"};
  if (q.rows.type != q.task.type || (q.rows.type != task_type::regression && q.rows.classes != q.task.classes.size()))
    return {errc::invalid_argument, "the predictions do not fit the task"};
  if (!fits(q.task.metric, q.task.type))
    return {errc::invalid_argument, std::string(name_of(q.task.metric)) + " does not fit a " +
                                        std::string(name_of(q.task.type)) + " task"};
  if (!(q.confidence > 0 && q.confidence < 1))
    return {errc::invalid_argument, "the confidence must lie between 0 and 1"};
  for (const auto& s : q.slices)
    if (s.member.size() != q.rows.rows())
      return {errc::invalid_argument, "slice \"" + s.name + "\" marks " + std::to_string(s.member.size()) + " of " +
                                          std::to_string(q.rows.rows()) + " rows"};
  return success();
}

slice_report judge_slice(const evaluation_request& q, const evaluation_slice& s, const interval_options& o) {
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < s.member.size(); ++i)
    if (s.member[i])
      rows.push_back(static_cast<std::uint32_t>(i));
  slice_report r;
  r.name = s.name;
  r.where = s.where;
  r.estimate = estimate(q.task.metric, q.rows.select(rows), o);
  r.judged = s.threshold.has_value();
  if (s.threshold)
    r.gate = judge_gate(r.estimate, *s.threshold, q.gate);
  return r;
}

std::string number(double x) {
  if (!std::isfinite(x))
    return "-";
  char text[32];
  std::snprintf(text, sizeof text, std::abs(x) < 1000 ? "%.4f" : "%.6g", x);
  return text;
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

std::string line_of(const std::string& name, const metric_estimate& e) {
  return "  " + padded(name, 26) + padded(number(e.value), 9) + padded("[" + number(e.range.low) + ", " +
         number(e.range.high) + "]", 20) + std::to_string(e.rows) + " rows";
}

} // namespace

result<evaluation_report> evaluate(const evaluation_request& q) {
  FLYWHEEL_CHECK(check_request(q));
  interval_options o;
  o.confidence = q.confidence;
  o.seed = q.seed;
  evaluation_report r;
  r.model = q.model;
  r.type = q.task.type;
  r.classes = q.task.classes;
  r.rows = q.rows.rows();
  r.estimate = estimate(q.task.metric, q.rows, o);
  for (const auto m : all_metrics)
    if (m != q.task.metric && fits(m, q.task.type))
      r.others.push_back(estimate(m, q.rows, o));
  std::vector<named_gate> gates{{"all rows", judge_gate(r.estimate, q.threshold, q.gate)}};
  for (const auto& s : q.slices) {
    r.slices.push_back(judge_slice(q, s, o));
    if (r.slices.back().judged)
      gates.push_back({"slice " + s.name, r.slices.back().gate});
  }
  r.gate = combine_gates(gates);
  if (q.task.type != task_type::regression) {
    r.calibrated = measure_calibration(q.rows);
    r.confusion = count_confusion(q.rows);
  }
  if (q.champion) {
    judged_rows champion{q.rows.type, q.rows.classes, q.rows.truth, *q.champion};
    auto c = q.comparison;
    c.confidence = q.confidence;
    c.seed = q.seed;
    FLYWHEEL_TRY(r.champion, compare_paired(q.task.metric, champion, q.rows, c));
    r.champion_name = q.champion_name;
  }
  return r;
}

std::vector<std::string> render(const evaluation_report& r) {
  std::vector<std::string> lines;
  lines.push_back(r.model + " on " + std::to_string(r.rows) + " held-out rows: " + r.gate.reason);
  lines.push_back("  " + padded("metric", 26) + padded("value", 9) + padded(format_percent(r.estimate.confidence, 0) +
                  " interval", 20) + "from");
  lines.push_back(line_of(std::string(name_of(r.estimate.metric)) + " *", r.estimate));
  for (const auto& e : r.others)
    lines.push_back(line_of(std::string(name_of(e.metric)), e));
  for (const auto& s : r.slices)
    lines.push_back(line_of("slice " + s.name, s.estimate) +
                    (s.judged ? ", " + std::string(name_of(s.gate.result)) + " at " + number(s.gate.threshold) : ""));
  if (r.calibrated) {
    lines.push_back("  calibration: error " + number(r.calibrated->ece) + ", Brier score " +
                    number(r.calibrated->brier));
    for (const auto& b : r.calibrated->bins)
      if (b.rows > 0)
        lines.push_back("    says " + padded(format_percent(b.stated, 1), 9) + "is " +
                        padded(format_percent(b.observed, 1), 9) + std::to_string(b.rows) + " rows");
  }
  for (std::size_t t = 0; t < r.confusion.size() && r.confusion.size() <= 12; ++t) {
    std::string line = "  true " + padded(printable(r.classes[t], 20), 21) + "->";
    for (std::size_t p = 0; p < r.confusion.size(); ++p)
      line += " " + printable(r.classes[p], 20) + " " + std::to_string(r.confusion[t][p]) +
              (p + 1 < r.confusion.size() ? "," : "");
    lines.push_back(line);
  }
  if (r.champion)
    lines.push_back("  against " + (r.champion_name.empty() ? std::string("the champion") : r.champion_name) + ": " +
                    r.champion->reason);
  return lines;
}

} // namespace flywheel
