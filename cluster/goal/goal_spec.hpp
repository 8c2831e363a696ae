#pragma once
// A goal, resolved: what a person wants, every default filled in. Values only; parsing is goal_parser.hpp.
// Field names, types, defaults and help texts live once, in goal_schema.cpp; `flywheel explain goal...` prints them.

#include "cluster/base/error.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace flywheel {

using std::chrono::nanoseconds;

/// One column of the data contract.
struct column_rule {
  std::string name;
  std::string type;                     ///< "integer" "number" "boolean" "category" "text" "timestamp"
  bool nullable = false;
  std::optional<double> min, max;       ///< inclusive
  std::vector<std::string> values;      ///< allowed set; empty: any
  std::string pattern;                  ///< RE2, must match the whole cell; empty: any
  bool unique = false;
};
/// A rule over several columns: "a <= b", "a + b == c", "a is null or b > 0" (grammar in docs/data.md).
struct row_rule {
  std::string name;
  std::string check;
};
struct data_contract {
  std::vector<column_rule> columns;     ///< empty: inferred from the file, and said so
  std::vector<row_rule> rules;
  std::vector<std::string> key;         ///< columns that identify a row (duplicates are exact-key duplicates)
  std::vector<std::string> null_tokens{"", "NA", "null"};
  std::uint64_t rows_min = 1;
  std::optional<std::uint64_t> rows_max;
  double bad_rows_max = 0.01;           ///< fraction quarantined before the whole file is refused
  std::string time_column;              ///< for freshness and time splits; empty: none
  std::optional<nanoseconds> fresh_within;
};
struct data_split {
  std::string strategy = "stratified";  ///< "stratified" "random" "grouped" "time" "tail" (last rows of the file)
  double holdout = 0.2;                 ///< fraction held out; ignored if holdout_rows is set
  std::optional<std::uint64_t> holdout_rows;
  std::string group;                    ///< column, for "grouped"
};
struct data_spec {
  std::string source;                   ///< path, made absolute against the goal file's folder
  std::string format = "auto";          ///< "auto" "csv" "jsonl"; compression is told from the bytes
  data_contract contract;
  data_split split;
  std::vector<std::string> drop;        ///< columns never used as features
};
struct metric_spec {
  std::string name = "accuracy";
  double threshold = 0;
  double confidence = 0.95;             ///< of the intervals reported
};
struct slice_spec {
  std::string name;
  std::string where;                    ///< same grammar as row_rule::check
  std::optional<double> threshold;      ///< of the metric on this slice; empty: reported only
};
struct search_budget {
  std::uint64_t trials = 40;
  nanoseconds wall_time = std::chrono::minutes{10};
  double slot_seconds = 1200;
};
struct search_spec {
  std::vector<std::string> families{"gbt", "mlp"};
  std::string sampler = "tpe";          ///< "tpe" "random"
  std::string pruner = "halving";       ///< "halving" "none"
  std::string stop = "budget";          ///< "budget" "threshold"
  std::uint32_t folds = 5;
  std::uint64_t seed = 1;
  search_budget budget;
  /// family -> parameter -> range override, e.g. space: {gbt: {max_depth: {low: 2, high: 8}}}
  struct range { std::optional<double> low, high; std::optional<bool> log; std::vector<std::string> choices; };
  std::map<std::string, std::map<std::string, range>> space;
};
struct approval_rule {
  std::string action;                   ///< "rollout" "retrain" "rollback"
  std::vector<std::string> by;          ///< users; "*" is anyone other than the requester, "@me" includes the requester
  nanoseconds valid_for = std::chrono::hours{24};
};
struct rollout_spec {
  std::vector<double> steps{5, 25, 100}; ///< percent of traffic, increasing, the last is 100
  std::uint64_t step_requests_min = 100; ///< evidence needed before a step may pass
  nanoseconds step_time_min = std::chrono::seconds{1};
  double error_rate_max = 0.01;
  double latency_p99_ms_max = 100;
  double quality_drop_max = 0.02;        ///< champion metric - challenger metric, on labelled traffic
};
struct watch_spec {
  double psi_max = 0.25;                 ///< population stability index per feature
  double p_value_min = 0.001;            ///< two-sample test per feature, after Holm's correction
  double accuracy_drop_max = 0.05;
  std::uint64_t window = 500;            ///< requests per drift window
  std::uint64_t confirm = 3;             ///< windows in a row before a shift counts
};
struct retrain_spec {
  bool automatic = true;                 ///< the learner may open a retrain goal (which needs its own approvals)
  std::uint64_t per_day_max = 2;
  nanoseconds cooldown = std::chrono::hours{1};
  double budget_fraction = 0.5;          ///< of this goal's search budget
};
/// A rehearsal of faults (`flywheel chaos`) that must have been passed.
struct rehearsal_rule {
  std::string experiment;                ///< the name in the file
  std::string digest;                    ///< of the file, or the start of it; empty: any of that name
  nanoseconds max_age = std::chrono::hours{7 * 24};
};
struct release_spec {
  std::vector<rehearsal_rule> require_chaos;
};
struct policy_spec {
  std::vector<approval_rule> approvals{{"rollout", {"@me"}, std::chrono::hours{24}}};
  release_spec release;
  rollout_spec rollout;
  watch_spec watch;
  retrain_spec retrain;
};
struct resource_spec {
  std::uint32_t slots = 0;               ///< workers at once; 0: one per core
  std::uint64_t worker_memory = 2ull << 30;
  nanoseconds trial_time_max = std::chrono::minutes{5};
};
struct serve_spec {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;                ///< 0: any free port, reported
  std::string model;                     ///< name in URLs; default: the goal's name
};

struct goal_spec {
  std::uint32_t version = 1;             ///< of this format
  std::string name;
  std::string description;
  data_spec data;
  std::string target;
  std::string task = "auto";             ///< "auto" "binary" "multiclass" "regression"
  std::string positive;                  ///< label of the positive class; binary only; empty: the rarer one
  metric_spec metric;
  std::vector<slice_spec> slices;
  search_spec search;
  policy_spec policy;
  resource_spec resources;
  serve_spec serve;
};

} // namespace flywheel
