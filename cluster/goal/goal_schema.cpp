#include "cluster/goal/goal_schema.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/goal/schema_access.hpp"

namespace flywheel {
namespace {

using enum field_type;
using schema_access::defaults;
using schema_access::leaf;
using schema_access::sub;
using schema_access::subs;
constexpr double largest = 1e15;                 ///< whole numbers up to here are exact in JSON everywhere
constexpr double ten_years = 10 * 365 * 86400.0; ///< seconds

const schema_record& column_record() {
  static const schema_record r{
      "a column's contract",
      {{.key = "name", .type = column, .at = leaf<&column_rule::name>(), .help = "The column, as in the file's header.",
        .example = "total_day_minutes", .required = true},
       {.key = "type", .type = choice, .at = leaf<&column_rule::type>(),
        .help = "What its cells hold. A category has a limited set of values; text is free and is not used as a feature.",
        .example = "number", .required = true,
        .values = {"integer", "number", "boolean", "category", "text", "timestamp"}},
       {.key = "nullable", .type = boolean, .at = leaf<&column_rule::nullable>(), .help = "Cells may be missing (see null_tokens).",
        .example = "true"},
       {.key = "min", .type = number, .at = leaf<&column_rule::min>(), .help = "The smallest value allowed.", .example = "0"},
       {.key = "max", .type = number, .at = leaf<&column_rule::max>(), .help = "The largest value allowed.", .example = "1440"},
       {.key = "values", .type = label, .at = leaf<&column_rule::values>(), .help = "The only values allowed; empty allows any.",
        .example = "[\"yes\", \"no\"]", .list = true},
       {.key = "pattern", .type = regex, .at = leaf<&column_rule::pattern>(),
        .help = "A regular expression (RE2) that the whole cell must match; empty allows any.", .example = "'[A-Z]{2}'"},
       {.key = "unique", .type = boolean, .at = leaf<&column_rule::unique>(), .help = "No value may come twice.", .example = "true"}},
      defaults<column_rule>(), ""};
  return r;
}

const schema_record& rule_record() {
  static const schema_record r{
      "a rule over several columns",
      {{.key = "name", .type = text, .at = leaf<&row_rule::name>(),
        .help = "What the rule is called in reports; by default its condition.", .example = "calls have minutes"},
       {.key = "check", .type = condition, .at = leaf<&row_rule::check>(),
        .help = "A condition that every row must meet. A row breaks it only if the condition is false; a missing cell makes it "
                "unknown, which is no breach.",
        .example = "total_day_minutes > 0 or total_day_charge == 0", .required = true}},
      defaults<row_rule>(), "check"};
  return r;
}

const schema_record& split_record() {
  static const schema_record r{
      "how rows are held out for the final judgement",
      {{.key = "strategy", .type = choice, .at = leaf<&data_split::strategy>(),
        .help = "Which rows the evaluator keeps for itself: stratified keeps the classes' shares, random does not look, grouped "
                "keeps a group's rows together, time takes the newest rows, tail takes the last rows of the file.",
        .example = "tail", .values = {"stratified", "random", "grouped", "time", "tail"}},
       {.key = "holdout", .type = fraction, .at = leaf<&data_split::holdout>(),
        .help = "Fraction of the rows held out. Ignored if holdout_rows is set.", .example = "20%", .min = 0, .max = 0.9,
        .above_min = true},
       {.key = "holdout_rows", .type = integer, .at = leaf<&data_split::holdout_rows>(),
        .help = "How many rows are held out, instead of a fraction.", .example = "1667", .min = 1, .max = largest, .unit = "rows"},
       {.key = "group", .type = column, .at = leaf<&data_split::group>(),
        .help = "For strategy grouped: rows with the same value here are never split.", .example = "household"}},
      defaults<data_split>(), ""};
  return r;
}

const schema_record& data_record() {
  static const schema_record r{
      "the data and what it must look like",
      {{.key = "source", .type = path, .at = leaf<&data_spec::source>(),
        .help = "The data file: CSV or JSON lines, plain, gzip or zstd. A relative path starts at the goal file's folder.",
        .example = "churn.csv", .required = true},
       {.key = "format", .type = choice, .at = leaf<&data_spec::format>(),
        .help = "The file's format; auto tells it from the first bytes. Compression is always told from the bytes.",
        .example = "csv", .values = {"auto", "csv", "jsonl"}},
       {.key = "contract", .type = record, .at = sub<&data_spec::contract>(),
        .help = "What the data promises. Rows that break it are set aside with the reason. May also be the path of a contract "
                "file, such as `flywheel data infer` writes.",
        .example = "churn-contract.yaml", .of = &contract_record()},
       {.key = "split", .type = record, .at = sub<&data_spec::split>(),
        .help = "Which rows are held out: neither search nor training ever reads them.", .of = &split_record()},
       {.key = "drop", .type = column, .at = leaf<&data_spec::drop>(), .help = "Columns that are never used as features.",
        .example = "[customer_id]", .list = true}},
      defaults<data_spec>(), ""};
  return r;
}

const schema_record& metric_record() {
  static const schema_record r{
      "what is measured and how good it must be",
      {{.key = "name", .type = choice, .at = leaf<&metric_spec::name>(),
        .help = "The metric. For log_loss, rmse and mae less is better. Formulas: docs/metrics.md.", .example = "accuracy",
        .values = {"accuracy", "balanced_accuracy", "f1", "auc", "log_loss", "rmse", "mae", "r2"}},
       {.key = "threshold", .type = fraction, .at = leaf<&metric_spec::threshold>(),
        .help = "The value that the held-out rows must show before anything is rolled out. Short form: `metric: accuracy >= 0.95`.",
        .example = "0.95"},
       {.key = "confidence", .type = fraction, .at = leaf<&metric_spec::confidence>(),
        .help = "Confidence level of the intervals reported.", .example = "95%", .min = 0.5, .max = 0.9999}},
      defaults<metric_spec>(), ""};
  return r;
}

const schema_record& slice_record() {
  static const schema_record r{
      "a part of the rows that is judged on its own",
      {{.key = "name", .type = text, .at = leaf<&slice_spec::name>(),
        .help = "What the slice is called in reports; by default its condition.", .example = "international"},
       {.key = "where", .type = condition, .at = leaf<&slice_spec::where>(),
        .help = "A condition; the rows for which it is true are the slice.", .example = "international_plan == \"yes\"",
        .required = true},
       {.key = "threshold", .type = fraction, .at = leaf<&slice_spec::threshold>(),
        .help = "What the metric must reach on this slice; without it the slice is only reported.", .example = "0.9"}},
      defaults<slice_spec>(), "where"};
  return r;
}

const schema_record& budget_record() {
  static const schema_record r{
      "what the search may spend; it is reserved before it is spent, and the search ends when one part is used up",
      {{.key = "trials", .type = integer, .at = leaf<&search_budget::trials>(), .help = "The most configurations tried.",
        .example = "40", .min = 1, .max = static_cast<double>(limits::trials_max), .unit = "trials"},
       {.key = "wall_time", .type = duration, .at = leaf<&search_budget::wall_time>(), .help = "The longest the search may take.",
        .example = "10m", .min = 0, .max = ten_years, .above_min = true},
       {.key = "slot_seconds", .type = number, .at = leaf<&search_budget::slot_seconds>(),
        .help = "Seconds of one slot (a GPU, or a share of CPU cores), summed over all slots.", .example = "1200", .min = 0,
        .max = 1e12, .above_min = true, .unit = "seconds of a slot"}},
      defaults<search_budget>(), ""};
  return r;
}

const schema_record& search_record() {
  static const schema_record r{
      "how models are looked for",
      {{.key = "families", .type = family, .at = leaf<&search_spec::families>(),
        .help = "The families of models the architect may try: gbt is gradient-boosted trees, mlp a neural network.",
        .example = "[gbt, mlp]", .list = true},
       {.key = "sampler", .type = choice, .at = leaf<&search_spec::sampler>(),
        .help = "How the next configuration is chosen: tpe learns from the trials before, random does not.", .example = "tpe",
        .values = {"tpe", "random"}},
       {.key = "pruner", .type = choice, .at = leaf<&search_spec::pruner>(),
        .help = "Whether trials that fall behind are stopped early: halving keeps the better part at each rung.",
        .example = "halving", .values = {"halving", "none"}},
       {.key = "stop", .type = choice, .at = leaf<&search_spec::stop>(),
        .help = "When the search ends: budget uses all of it for the best model it can find; threshold ends as soon as a "
                "trial surely reaches the metric's threshold in cross-validation.",
        .example = "threshold", .values = {"budget", "threshold"}},
       {.key = "folds", .type = integer, .at = leaf<&search_spec::folds>(),
        .help = "Parts of the cross-validation that judges a trial.", .example = "5", .min = 2, .max = 20, .unit = "folds"},
       {.key = "seed", .type = integer, .at = leaf<&search_spec::seed>(),
        .help = "Where all randomness comes from: same goal, same seed, same result.", .example = "1", .min = 0, .max = largest},
       {.key = "budget", .type = record, .at = sub<&search_spec::budget>(), .help = "What the search may spend.",
        .of = &budget_record()},
       {.key = "space", .type = space, .at = {},
        .help = "Narrower or wider ranges for hyper-parameters, by family and parameter.",
        .example = "{gbt: {max_depth: {low: 3, high: 8}}}", .of = &space_record()}},
      defaults<search_spec>(), ""};
  return r;
}

const schema_record& approval_record() {
  static const schema_record r{
      "who may let an action happen",
      {{.key = "action", .type = choice, .at = leaf<&approval_rule::action>(),
        .help = "What needs the approval. rollout must be listed; retrain and rollback need none unless they are.",
        .example = "rollout", .required = true, .values = {"rollout", "retrain", "rollback"}},
       {.key = "by", .type = user, .at = leaf<&approval_rule::by>(),
        .help = "Who may give it: user names, \"*\" for anyone but the one who asked, \"@me\" for the one who asked.",
        .example = "[\"@me\"]", .required = true, .list = true},
       {.key = "valid_for", .type = duration, .at = leaf<&approval_rule::valid_for>(),
        .help = "How long an approval can be used after it was given.", .example = "24h", .min = 0, .max = ten_years,
        .above_min = true}},
      defaults<approval_rule>(), ""};
  return r;
}

const schema_record& rollout_record() {
  static const schema_record r{
      "how traffic moves to a new version",
      {{.key = "steps", .type = percent, .at = leaf<&rollout_spec::steps>(),
        .help = "Shares of the traffic the new version gets, one after the other; they increase and end at 100.",
        .example = "[5, 25, 100]", .list = true, .min = 0, .max = 100, .above_min = true, .unit = "percent of requests"},
       {.key = "step_requests_min", .type = integer, .at = leaf<&rollout_spec::step_requests_min>(),
        .help = "Requests the new version must have answered before a step may pass.", .example = "100", .min = 1, .max = 1e12,
        .unit = "requests"},
       {.key = "step_time_min", .type = duration, .at = leaf<&rollout_spec::step_time_min>(), .help = "The shortest a step lasts.",
        .example = "10m", .min = 0, .max = ten_years},
       {.key = "error_rate_max", .type = fraction, .at = leaf<&rollout_spec::error_rate_max>(),
        .help = "Above this fraction of failed requests the rollout is taken back.", .example = "1%", .min = 0, .max = 1},
       {.key = "latency_p99_ms_max", .type = number, .at = leaf<&rollout_spec::latency_p99_ms_max>(),
        .help = "Above this 99th percentile of the answer time the rollout is taken back.", .example = "100", .min = 0, .max = 1e9,
        .above_min = true, .unit = "milliseconds"},
       {.key = "quality_drop_max", .type = fraction, .at = leaf<&rollout_spec::quality_drop_max>(),
        .help = "By how much the new version's metric may be worse than the champion's on labelled traffic.", .example = "0.02",
        .min = 0, .max = 1e9}},
      defaults<rollout_spec>(), ""};
  return r;
}

const schema_record& watch_record() {
  static const schema_record r{
      "what counts as a shift while a model serves",
      {{.key = "psi_max", .type = number, .at = leaf<&watch_spec::psi_max>(),
        .help = "Largest population stability index of a feature against the training data (0.1 is small, 0.25 a shift).",
        .example = "0.25", .min = 0, .max = 100, .above_min = true},
       {.key = "p_value_min", .type = number, .at = leaf<&watch_spec::p_value_min>(),
        .help = "Smallest p-value of the two-sample test of a feature, after Holm's correction.", .example = "0.001", .min = 0,
        .max = 0.5, .above_min = true},
       {.key = "accuracy_drop_max", .type = fraction, .at = leaf<&watch_spec::accuracy_drop_max>(),
        .help = "By how much accuracy on labelled traffic may fall below the one at release.", .example = "5%", .min = 0, .max = 1,
        .above_min = true},
       {.key = "window", .type = integer, .at = leaf<&watch_spec::window>(), .help = "Requests that are looked at together.",
        .example = "500", .min = 20, .max = 1e9, .unit = "requests"},
       {.key = "confirm", .type = integer, .at = leaf<&watch_spec::confirm>(),
        .help = "Windows in a row that must show a shift before it counts.", .example = "3", .min = 1, .max = 1000,
        .unit = "windows"}},
      defaults<watch_spec>(), ""};
  return r;
}

const schema_record& retrain_record() {
  static const schema_record r{
      "what may happen after a confirmed shift",
      {{.key = "automatic", .type = boolean, .at = leaf<&retrain_spec::automatic>(),
        .help = "The learner may open a retrain goal by itself; its rollout needs its own approval.", .example = "true"},
       {.key = "per_day_max", .type = integer, .at = leaf<&retrain_spec::per_day_max>(), .help = "The most retrain goals in 24 hours.",
        .example = "2", .min = 0, .max = 1000, .unit = "goals"},
       {.key = "cooldown", .type = duration, .at = leaf<&retrain_spec::cooldown>(),
        .help = "The shortest time between two retrain goals.", .example = "1h", .min = 0, .max = ten_years},
       {.key = "budget_fraction", .type = fraction, .at = leaf<&retrain_spec::budget_fraction>(),
        .help = "The part of this goal's search budget that a retrain goal gets.", .example = "50%", .min = 0, .max = 1,
        .above_min = true}},
      defaults<retrain_spec>(), ""};
  return r;
}

const schema_record& rehearsal_record() {
  static const schema_record r{
      "a rehearsal of faults that must have been passed",
      {{.key = "experiment", .type = name, .at = leaf<&rehearsal_rule::experiment>(),
        .help = "The name in the file of faults that `flywheel chaos` was run with.", .example = "nightly", .required = true},
       {.key = "digest", .type = text, .at = leaf<&rehearsal_rule::digest>(),
        .help = "What that file said: the digest that `flywheel chaos` prints, at least 12 of its digits. Empty: any file of that name.",
        .example = "3f2a9c0d11ee"},
       {.key = "max_age", .type = duration, .at = leaf<&rehearsal_rule::max_age>(),
        .help = "The longest that the rehearsal may be ago.", .example = "7d", .min = 0, .max = ten_years, .above_min = true}},
      defaults<rehearsal_rule>(), "experiment"};
  return r;
}

const schema_record& release_record() {
  static const schema_record r{
      "what must be true before a model is released",
      {{.key = "require_chaos", .type = records, .at = subs<&release_spec::require_chaos>(),
        .help = "Rehearsals of faults (`flywheel chaos`) that this cluster must have passed lately.", .of = &rehearsal_record()}},
      defaults<release_spec>(), ""};
  return r;
}

const schema_record& policy_record() {
  static const schema_record r{
      "who decides, how carefully it goes live, what is watched",
      {{.key = "approvals", .type = records, .at = subs<&policy_spec::approvals>(), .help = "Who must approve what.",
        .of = &approval_record()},
       {.key = "release", .type = record, .at = sub<&policy_spec::release>(),
        .help = "What must be true before a model is released, besides the metric.", .of = &release_record()},
       {.key = "rollout", .type = record, .at = sub<&policy_spec::rollout>(),
        .help = "How traffic moves to a new version, and when it moves back.", .of = &rollout_record()},
       {.key = "watch", .type = record, .at = sub<&policy_spec::watch>(), .help = "What counts as a shift while the model serves.",
        .of = &watch_record()},
       {.key = "retrain", .type = record, .at = sub<&policy_spec::retrain>(), .help = "What may happen after a confirmed shift.",
        .of = &retrain_record()}},
      defaults<policy_spec>(), ""};
  return r;
}

const schema_record& resource_record() {
  static const schema_record r{
      "what the work may use",
      {{.key = "slots", .type = integer, .at = leaf<&resource_spec::slots>(),
        .help = "Workers at the same time; 0 takes one per core (or GPU).", .example = "2", .min = 0, .max = 4096, .unit = "workers"},
       {.key = "worker_memory", .type = bytes, .at = leaf<&resource_spec::worker_memory>(),
        .help = "The most memory one worker process may use.", .example = "2GiB", .min = 64.0 * limits::mib,
        .max = 1024.0 * 1024 * limits::gib},
       {.key = "trial_time_max", .type = duration, .at = leaf<&resource_spec::trial_time_max>(),
        .help = "The longest one trial may take; then it is stopped and counted as failed.", .example = "5m", .min = 0,
        .max = ten_years, .above_min = true}},
      defaults<resource_spec>(), ""};
  return r;
}

const schema_record& serve_record() {
  static const schema_record r{
      "where the model answers",
      {{.key = "address", .type = address, .at = leaf<&serve_spec::address>(),
        .help = "The address the model server listens on. Anything but 127.0.0.1 lets other machines ask.", .example = "127.0.0.1"},
       {.key = "port", .type = integer, .at = leaf<&serve_spec::port>(), .help = "Its port; 0 takes any free one and reports it.",
        .example = "8080", .min = 0, .max = 65535},
       {.key = "model", .type = name, .at = leaf<&serve_spec::model>(),
        .help = "The model's name in URLs; by default the goal's name.", .example = "churn"}},
      defaults<serve_spec>(), ""};
  return r;
}

} // namespace

const schema_record& contract_record() {
  static const schema_record r{
      "what the data promises",
      {{.key = "columns", .type = records, .at = subs<&data_contract::columns>(),
        .help = "Every column of the file. If left out, types are inferred from the data, and the report says so.",
        .of = &column_record()},
       {.key = "rules", .type = records, .at = subs<&data_contract::rules>(),
        .help = "Conditions that every row must meet, over any columns.", .of = &rule_record()},
       {.key = "key", .type = column, .at = leaf<&data_contract::key>(),
        .help = "Columns that together identify a row; a second row with the same key is a duplicate.", .example = "[customer_id]",
        .list = true},
       {.key = "null_tokens", .type = label, .at = leaf<&data_contract::null_tokens>(),
        .help = "Cells that mean 'missing'.", .example = "[\"\", NA, null]", .list = true},
       {.key = "rows_min", .type = integer, .at = leaf<&data_contract::rows_min>(), .help = "Fewer rows than this refuse the file.",
        .example = "1000", .min = 1, .max = largest, .unit = "rows"},
       {.key = "rows_max", .type = integer, .at = leaf<&data_contract::rows_max>(), .help = "More rows than this refuse the file.",
        .example = "1000000", .min = 1, .max = largest, .unit = "rows"},
       {.key = "bad_rows_max", .type = fraction, .at = leaf<&data_contract::bad_rows_max>(),
        .help = "The fraction of rows that may be set aside before the whole file is refused.", .example = "1%", .min = 0, .max = 1},
       {.key = "time_column", .type = column, .at = leaf<&data_contract::time_column>(),
        .help = "The column that says when a row was true; needed for freshness and for splits by time.", .example = "created_at"},
       {.key = "fresh_within", .type = duration, .at = leaf<&data_contract::fresh_within>(),
        .help = "The newest row must not be older than this.", .example = "7d", .min = 0, .max = ten_years, .above_min = true}},
      defaults<data_contract>(), ""};
  return r;
}

const schema_record& space_record() {
  static const schema_record r{
      "the range of one hyper-parameter",
      {{.key = "low", .type = number, .at = leaf<&search_spec::range::low>(), .help = "The smallest value tried.", .example = "2"},
       {.key = "high", .type = number, .at = leaf<&search_spec::range::high>(), .help = "The largest value tried.", .example = "8"},
       {.key = "log", .type = boolean, .at = leaf<&search_spec::range::log>(),
        .help = "Sample evenly in the logarithm, for values that span orders of magnitude.", .example = "true"},
       {.key = "choices", .type = label, .at = leaf<&search_spec::range::choices>(),
        .help = "For a parameter that is chosen from a set: the set.", .example = "[32, 64, 128]", .list = true}},
      defaults<search_spec::range>(), ""};
  return r;
}

const schema_record& goal_record() {
  static const schema_record r{
      "what a person wants: data, target, metric, budget, policy",
      {{.key = "flywheel", .type = integer, .at = leaf<&goal_spec::version>(), .help = "Version of the goal format.", .example = "1",
        .min = 1, .max = 1},
       {.key = "name", .type = name, .at = leaf<&goal_spec::name>(),
        .help = "The goal's name: letters, digits, '-', '_' and '.', at most 64. Models and URLs carry it.", .example = "churn",
        .required = true},
       {.key = "description", .type = text, .at = leaf<&goal_spec::description>(), .help = "One sentence for people.",
        .example = "Predict which customers leave, with at least 95 % accuracy."},
       {.key = "data", .type = record, .at = sub<&goal_spec::data>(), .help = "The data and what it must look like.", .required = true,
        .of = &data_record()},
       {.key = "target", .type = column, .at = leaf<&goal_spec::target>(), .help = "The column to predict.", .example = "churn",
        .required = true},
       {.key = "task", .type = choice, .at = leaf<&goal_spec::task>(),
        .help = "The kind of prediction; auto tells it from the target's values.", .example = "binary",
        .values = {"auto", "binary", "multiclass", "regression"}},
       {.key = "positive", .type = label, .at = leaf<&goal_spec::positive>(),
        .help = "Binary tasks: the class that is looked for; by default the rarer one.", .example = "\"yes\""},
       {.key = "metric", .type = record, .at = sub<&goal_spec::metric>(),
        .help = "What is measured and how good it must be. Short form: `metric: accuracy >= 0.95`.", .of = &metric_record()},
       {.key = "slices", .type = records, .at = subs<&goal_spec::slices>(),
        .help = "Parts of the rows that are judged on their own, so that a good average hides nobody.", .of = &slice_record()},
       {.key = "search", .type = record, .at = sub<&goal_spec::search>(), .help = "How models are looked for, and for how long.",
        .of = &search_record()},
       {.key = "policy", .type = record, .at = sub<&goal_spec::policy>(),
        .help = "Who decides, how carefully it goes live, what is watched.", .of = &policy_record()},
       {.key = "resources", .type = record, .at = sub<&goal_spec::resources>(), .help = "What the work may use.",
        .of = &resource_record()},
       {.key = "serve", .type = record, .at = sub<&goal_spec::serve>(), .help = "Where the model answers.", .of = &serve_record()}},
      defaults<goal_spec>(), ""};
  return r;
}

const goal_vocabulary& goal_vocabulary::known() {
  static const goal_vocabulary v{
      {{"gbt", {"learning_rate", "max_depth", "min_child_weight", "subsample", "colsample_bytree", "gamma", "reg_lambda", "reg_alpha"}},
       {"mlp",
        {"learning_rate", "weight_decay", "dropout", "hidden", "blocks", "numeric_width", "segments", "batch", "label_smoothing"}}}};
  return v;
}

} // namespace flywheel
