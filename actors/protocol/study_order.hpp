#pragma once
// What the architect orders from hpo, and what comes back: the JSON inside run_study and study_report.

#include "cluster/goal/goal_spec.hpp"
#include "models/task_json.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace flywheel {

/// One study of an order.
struct study_request {
  std::string study;               ///< unique within the goal; trials are "<study>-0001", ...
  std::string family;
  search_space space;
  std::vector<std::pair<param_set, std::string>> planned; ///< configurations to try first, with the reason
  std::string sampler = "tpe", pruner = "halving";
  std::uint32_t resource_max = 0;
  std::uint64_t trials = 1;
  double wall_seconds = 60, slot_seconds = 60;
  std::uint32_t patience = 0;      ///< 0: never
  std::optional<double> good_enough; ///< end when this value is surely reached; empty: use the whole budget
};

struct study_order {
  std::filesystem::path table, folder; ///< training rows; where checkpoints go
  learning_task task;
  std::uint32_t folds = 5;
  std::uint64_t seed = 1;
  std::uint32_t slots = 1;
  std::uint64_t memory_max = 0;
  double trial_seconds_max = 300;
  std::vector<study_request> studies;
};
nlohmann::json to_json(const study_order& o);
result<study_order> order_from_json(const nlohmann::json& j);

/// One trial as it ended.
struct study_trial {
  std::string trial, how;          ///< how: "completed" "pruned" "failed" "running"
  param_set params;
  double value = 0, standard_error = 0, seconds = 0;
  std::uint32_t resource = 0;
  std::vector<double> fold_values;
  std::string cause;
};
struct study_summary {
  std::string study, family, ended, reason;
  std::vector<study_trial> trials;
  std::string best;                ///< trial; empty: none
  double slot_seconds = 0;
  std::uint32_t resource_max = 0;  ///< of a whole trial of this study: what schedules were laid out for
};
nlohmann::json to_json(const study_summary& s);
result<study_summary> summary_from_json(const nlohmann::json& j);

/// The family's own space with the ranges that the goal narrows or replaces.
search_space space_for(const family_info& family, const search_spec& wishes);

nlohmann::json to_json(const search_space& s);
result<search_space> space_from_json(const nlohmann::json& j);

} // namespace flywheel
