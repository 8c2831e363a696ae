#pragma once
// Everything the evaluator has to say about a model on held-out rows: made by evaluate(), kept as JSON in the journal, shown
// to people as lines. The rows themselves never leave the evaluator; this report holds counts and metrics only.

#include "actors/evaluator/calibration.hpp"
#include "actors/evaluator/gate_policy.hpp"
#include "actors/evaluator/paired_comparison.hpp"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace flywheel {

struct evaluation_slice {
  std::string name;
  std::string where;                  ///< the condition, for people
  std::vector<std::uint8_t> member;   ///< 1 for the rows of the slice; as long as the rows
  std::optional<double> threshold;    ///< empty: reported only
};

struct evaluation_request {
  std::string model;                  ///< for people, e.g. "churn/v3" or "gbt"
  learning_task task;                 ///< `metric` is the goal's
  judged_rows rows;
  double threshold = 0;
  std::vector<evaluation_slice> slices;
  std::optional<std::vector<float>> champion; ///< the champion's predictions on the same rows
  std::string champion_name;
  double confidence = 0.95;
  std::uint64_t seed = 1;
  gate_options gate;
  comparison_options comparison;
};

struct slice_report {
  std::string name, where;
  metric_estimate estimate;
  bool judged = false;                ///< there was a threshold
  gate_verdict gate;                  ///< if judged
};

struct evaluation_report {
  std::string model;
  task_type type = task_type::binary;
  std::vector<std::string> classes;
  std::uint64_t rows = 0;
  metric_estimate estimate;           ///< of the goal's metric
  std::vector<metric_estimate> others; ///< the other metrics that fit the task
  std::vector<slice_report> slices;
  std::optional<calibration> calibrated;     ///< classification
  confusion_matrix confusion;                ///< classification
  std::optional<paired_comparison> champion;
  std::string champion_name;
  gate_verdict gate;                  ///< the whole and all slices together
};

/// invalid_data or invalid_argument if rows, slices and task do not fit together. Deterministic for a given seed (I13).
result<evaluation_report> evaluate(const evaluation_request& q);

nlohmann::json to_json(const evaluation_report& r);
result<evaluation_report> evaluation_from_json(const nlohmann::json& j);

/// Lines of plain text, no wider than 110 columns save for long names.
std::vector<std::string> render(const evaluation_report& r);

} // namespace flywheel
