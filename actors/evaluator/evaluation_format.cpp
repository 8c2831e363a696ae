// The evaluation report as JSON, described in docs/evaluation.md. Numbers that are not finite are null.
#include "actors/evaluator/evaluation_report.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <cmath>
#include <limits>

namespace flywheel {
namespace {
using nlohmann::json;

constexpr int format_version = 1;

json number(double x) { return std::isfinite(x) ? json(x) : json(nullptr); }
double number_at(const json& j, const char* key) {
  const auto& x = j.at(key);
  return x.is_null() ? std::numeric_limits<double>::quiet_NaN() : x.get<double>();
}

json interval_json(const interval& i) { return json::array({number(i.low), number(i.high)}); }
interval interval_at(const json& j, const char* key) {
  const auto& pair = j.at(key);
  const auto read = [](const json& x) {
    return x.is_null() ? std::numeric_limits<double>::quiet_NaN() : x.get<double>();
  };
  return {read(pair.at(0)), read(pair.at(1))};
}

/// What is not a known name ends the reading through the same gate as every other problem.
struct unknown_name {
  std::string what;
};
template <class Read> auto name_at(const json& j, const char* key, Read read) {
  const auto text = j.at(key).get<std::string>();
  const auto value = read(text);
  if (!value)
    throw unknown_name{std::string{key} + " is \"" + printable(text, 40) + "\""};
  return *value;
}

json estimate_json(const metric_estimate& e) {
  return {{"metric", std::string(name_of(e.metric))}, {"value", number(e.value)},
          {"interval", interval_json(e.range)},       {"confidence", e.confidence},
          {"rows", e.rows},                           {"method", e.method},
          {"resamples", e.resamples}};
}
metric_estimate estimate_from(const json& j) {
  metric_estimate e;
  e.metric = name_at(j, "metric", metric_from_name);
  e.value = number_at(j, "value");
  e.range = interval_at(j, "interval");
  e.confidence = j.at("confidence").get<double>();
  e.rows = j.at("rows").get<std::uint64_t>();
  e.method = j.at("method").get<std::string>();
  e.resamples = j.at("resamples").get<std::uint32_t>();
  return e;
}

json gate_json(const gate_verdict& g) {
  return {{"result", std::string(name_of(g.result))}, {"threshold", number(g.threshold)},
          {"reached_with", number(g.reached_with)},   {"reason", g.reason}};
}
gate_verdict gate_from(const json& j) {
  return {name_at(j, "result", gate_result_from_name), number_at(j, "threshold"), number_at(j, "reached_with"),
          j.at("reason").get<std::string>()};
}

json calibration_json(const calibration& c) {
  json bins = json::array();
  for (const auto& b : c.bins)
    bins.push_back({{"from", b.from}, {"to", b.to}, {"rows", b.rows}, {"stated", b.stated}, {"observed", b.observed}});
  return {{"ece", c.ece}, {"brier", c.brier}, {"bins", bins}};
}
calibration calibration_from(const json& j) {
  calibration c;
  c.ece = j.at("ece").get<double>();
  c.brier = j.at("brier").get<double>();
  for (const auto& b : j.at("bins"))
    c.bins.push_back({b.at("from").get<double>(), b.at("to").get<double>(), b.at("rows").get<std::uint64_t>(),
                      b.at("stated").get<double>(), b.at("observed").get<double>()});
  return c;
}

json comparison_json(const paired_comparison& c) {
  return {{"result", std::string(name_of(c.result))},
          {"metric", std::string(name_of(c.metric))},
          {"champion", number(c.champion)},
          {"challenger", number(c.challenger)},
          {"difference", number(c.difference)},
          {"interval", interval_json(c.range)},
          {"confidence", c.confidence},
          {"p_value", number(c.p_value)},
          {"method", c.method},
          {"rows", c.rows},
          {"only_champion", c.only_champion},
          {"only_challenger", c.only_challenger},
          {"reason", c.reason}};
}
paired_comparison comparison_from(const json& j) {
  paired_comparison c;
  c.result = name_at(j, "result", comparison_result_from_name);
  c.metric = name_at(j, "metric", metric_from_name);
  c.champion = number_at(j, "champion");
  c.challenger = number_at(j, "challenger");
  c.difference = number_at(j, "difference");
  c.range = interval_at(j, "interval");
  c.confidence = j.at("confidence").get<double>();
  c.p_value = number_at(j, "p_value");
  c.method = j.at("method").get<std::string>();
  c.rows = j.at("rows").get<std::uint64_t>();
  c.only_champion = j.at("only_champion").get<std::uint64_t>();
  c.only_challenger = j.at("only_challenger").get<std::uint64_t>();
  c.reason = j.at("reason").get<std::string>();
  return c;
}

json slice_json(const slice_report& s) {
  json j{{"name", s.name}, {"where", s.where}, {"estimate", estimate_json(s.estimate)}};
  if (s.judged)
    j["gate"] = gate_json(s.gate);
  return j;
}
slice_report slice_from(const json& j) {
  slice_report s;
  s.name = j.at("name").get<std::string>();
  s.where = j.at("where").get<std::string>();
  s.estimate = estimate_from(j.at("estimate"));
  s.judged = j.contains("gate");
  if (s.judged)
    s.gate = gate_from(j.at("gate"));
  return s;
}

evaluation_report report_from(const json& j) {
  evaluation_report r;
  r.model = j.at("model").get<std::string>();
  r.type = name_at(j, "task", task_type_from_name);
  r.classes = j.at("classes").get<std::vector<std::string>>();
  r.rows = j.at("rows").get<std::uint64_t>();
  r.estimate = estimate_from(j.at("estimate"));
  for (const auto& e : j.at("others"))
    r.others.push_back(estimate_from(e));
  for (const auto& s : j.at("slices"))
    r.slices.push_back(slice_from(s));
  if (j.contains("calibration"))
    r.calibrated = calibration_from(j.at("calibration"));
  r.confusion = j.at("confusion").get<confusion_matrix>();
  for (const auto& line : r.confusion)
    if (r.confusion.size() != r.classes.size() || line.size() != r.classes.size())
      throw unknown_name{"confusion is not one row and column for each class"};
  if (j.contains("champion")) {
    r.champion = comparison_from(j.at("champion"));
    r.champion_name = j.at("champion_name").get<std::string>();
  }
  r.gate = gate_from(j.at("gate"));
  return r;
}

} // namespace

json to_json(const evaluation_report& r) {
  json j{{"version", format_version},
         {"model", r.model},
         {"task", std::string(name_of(r.type))},
         {"classes", r.classes},
         {"rows", r.rows},
         {"estimate", estimate_json(r.estimate)},
         {"others", json::array()},
         {"slices", json::array()},
         {"confusion", r.confusion},
         {"gate", gate_json(r.gate)}};
  for (const auto& e : r.others)
    j["others"].push_back(estimate_json(e));
  for (const auto& s : r.slices)
    j["slices"].push_back(slice_json(s));
  if (r.calibrated)
    j["calibration"] = calibration_json(*r.calibrated);
  if (r.champion) {
    j["champion"] = comparison_json(*r.champion);
    j["champion_name"] = r.champion_name;
  }
  return j;
}

result<evaluation_report> evaluation_from_json(const json& j) {
  try {
    if (const int version = j.at("version").get<int>(); version != format_version)
      return {errc::incompatible_version, "an evaluation report of version " + std::to_string(version) +
                                              "; this program reads version " + std::to_string(format_version)};
    return report_from(j);
  } catch (const unknown_name& e) {
    return {errc::invalid_format, "an evaluation report: " + e.what};
  } catch (const json::exception& e) {
    return {errc::invalid_format, std::string{"an evaluation report: "} + e.what()};
  }
}

} // namespace flywheel
