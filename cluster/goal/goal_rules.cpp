#include "cluster/goal/goal_rules.hpp"

#include "cluster/base/text.hpp"
#include "cluster/goal/row_expression.hpp"

#include <arpa/inet.h>
#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <set>
#include <unordered_set>

namespace flywheel {
namespace {

std::string dot(const std::string& path, std::string_view key) {
  return path.empty() ? std::string{key} : path + "." + std::string{key};
}
std::string at(const std::string& path, std::size_t i) { return path + "[" + std::to_string(i) + "]"; }
std::string in_quotes(std::string_view text) { return "'" + printable(text, 60) + "'"; }

/// Shared by all rules: where problems go, and what is written where.
struct checker {
  goal_problems& problems;
  const goal_places& places;

  void error(const std::string& path, const char* rule, std::string message, std::string suggestion = {}) const {
    problems.error(places.of(path), path, rule, std::move(message), std::move(suggestion));
  }
  void warning(const std::string& path, const char* rule, std::string message, std::string suggestion = {}) const {
    problems.warning(places.of(path), path, rule, std::move(message), std::move(suggestion));
  }

  void distinct(const std::string& path, const std::vector<std::string>& xs, const char* what) const {
    std::unordered_set<std::string_view> seen;
    for (std::size_t i = 0; i < xs.size() && !problems.full(); ++i)
      if (!seen.insert(xs[i]).second)
        error(at(path, i), "duplicate", std::string{what} + " " + in_quotes(xs[i]) + " is listed twice");
  }

  /// The place of a byte inside a scalar: exact if it is written on one line without escapes.
  goal_place inside(const std::string& path, const std::string& text, std::size_t offset) const {
    const goal_places::spot* spot = places.find(path);
    if (spot == nullptr)
      return places.of(path);
    goal_place p = spot->place;
    const std::string_view source = problems.source(p.source).text;
    std::size_t start = 0;
    for (std::uint32_t line = 1; line < p.line; ++line) {
      const auto next = source.find('\n', start);
      if (next == std::string_view::npos)
        return p;
      start = next + 1;
    }
    start += p.column - 1;
    if (start < source.size() && spot->quoted && (source[start] == '"' || source[start] == '\''))
      ++start, ++p.column;
    if (start >= source.size() || source.substr(start, offset) != std::string_view{text}.substr(0, offset))
      return spot->place;
    p.column += static_cast<std::uint32_t>(offset);
    return p;
  }

  /// Parses a condition and checks what it says against the columns that are known.
  void condition(const std::string& path, const std::string& text, const data_contract& contract) const {
    if (text.empty())
      return; // said already: missing
    std::size_t offset = 0;
    const auto e = row_expression::parse(text, &offset);
    if (!e) {
      problems.error(inside(path, text, offset), path, "condition",
                     e.error().what + (e.error().hint.empty() ? "" : "; " + e.error().hint));
      return;
    }
    if (contract.columns.empty())
      return;
    std::vector<std::string_view> names;
    for (const column_rule& c : contract.columns)
      names.push_back(c.name);
    for (const auto& use : e->columns())
      if (std::find(names.begin(), names.end(), use.name) == names.end())
        problems.error(inside(path, text, use.offset), path, "unknown-column", "the contract lists no column " + in_quotes(use.name),
                       std::string{nearest(use.name, names)});
    for (const auto& use : e->literals()) {
      const auto c = std::find_if(contract.columns.begin(), contract.columns.end(), [&](const auto& x) { return x.name == use.column; });
      if (c == contract.columns.end() || c->values.empty() || std::find(c->values.begin(), c->values.end(), use.literal) != c->values.end())
        continue;
      problems.error(inside(path, text, use.offset), path, "unknown-value",
                     in_quotes(use.literal) + " is none of the values of column " + in_quotes(use.column) + ": " +
                         printable(join(c->values, ", "), 100),
                     std::string{nearest(use.literal, c->values)});
    }
  }
};

bool is_numeric(const column_rule& c) { return c.type == "integer" || c.type == "number"; }

void check_column(const checker& check, const column_rule& c, const std::string& path) {
  if (c.min && c.max && *c.min > *c.max)
    check.error(dot(path, "max"), "conflict", "max " + shown_number(*c.max) + " is below min " + shown_number(*c.min));
  if (!c.type.empty() && !is_numeric(c))
    for (const auto& [key, set] : {std::pair<const char*, bool>{"min", c.min.has_value()}, {"max", c.max.has_value()}})
      if (set)
        check.error(dot(path, key), "conflict", std::string{"'"} + key + "' is for integer and number columns, and this is " + c.type);
  if (!c.pattern.empty()) {
    if (is_numeric(c))
      check.error(dot(path, "pattern"), "conflict", "'pattern' is for text, and this column is " + c.type + "; use min and max");
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(8 << 20);
    if (const RE2 re{c.pattern, options}; !re.ok())
      check.error(dot(path, "pattern"), "regex", "this is no regular expression: " + printable(re.error(), 100));
  }
  check.distinct(dot(path, "values"), c.values, "the value");
  for (std::size_t i = 0; i < c.values.size() && is_numeric(c) && !check.problems.full(); ++i) {
    const auto x = plain_number(c.values[i]);
    if (!x || (c.type == "integer" && *x != static_cast<double>(static_cast<std::int64_t>(std::clamp(*x, -9e15, 9e15)))))
      check.error(at(dot(path, "values"), i), "conflict", in_quotes(c.values[i]) + " is not possible in a column of type " + c.type);
    else if ((c.min && *x < *c.min) || (c.max && *x > *c.max))
      check.error(at(dot(path, "values"), i), "conflict", in_quotes(c.values[i]) + " is outside the column's min and max");
  }
}

/// "in the contract" checks for one column name used elsewhere; nothing to say if the contract lists no columns.
const column_rule* known_column(const checker& check, const std::string& name, const std::string& path, const data_contract& contract) {
  if (name.empty() || contract.columns.empty())
    return nullptr;
  std::vector<std::string_view> names;
  for (const column_rule& c : contract.columns) {
    if (c.name == name)
      return &c;
    names.push_back(c.name);
  }
  check.error(path, "unknown-column", "the contract lists no column " + in_quotes(name), std::string{nearest(name, names)});
  return nullptr;
}

void check_data(const checker& check, const goal_spec& spec) {
  const data_spec& d = spec.data;
  const data_contract& c = d.contract;
  const data_split& s = d.split;
  if (s.strategy == "grouped" && s.group.empty())
    check.error("data.split.strategy", "conflict", "a grouped split needs 'group', the column that says which rows belong together");
  if (s.strategy != "grouped" && !s.group.empty())
    check.error("data.split.group", "conflict", "'group' has no meaning for strategy " + s.strategy + "; write strategy: grouped, or remove it");
  if (s.strategy == "time" && c.time_column.empty())
    check.error("data.split.strategy", "conflict", "a split by time needs data.contract.time_column");
  if (s.strategy == "stratified" && spec.task == "regression" && check.places.has("data.split.strategy"))
    check.error("data.split.strategy", "conflict", "a regression has no classes to stratify by", "random");
  if (s.holdout_rows && check.places.has("data.split.holdout") && s.holdout != data_split{}.holdout)
    check.warning("data.split.holdout", "conflict", "'holdout' is ignored because holdout_rows is set");
  if (s.holdout_rows && c.rows_max && *s.holdout_rows >= *c.rows_max)
    check.error("data.split.holdout_rows", "conflict",
                "all of the at most " + std::to_string(*c.rows_max) + " rows (data.contract.rows_max) would be held out");
  known_column(check, s.group, "data.split.group", c);
  check.distinct("data.drop", d.drop, "the column");
  for (std::size_t i = 0; i < d.drop.size() && !check.problems.full(); ++i) {
    known_column(check, d.drop[i], at("data.drop", i), c);
    if (!spec.target.empty() && d.drop[i] == spec.target)
      check.error(at("data.drop", i), "conflict", "the target " + in_quotes(spec.target) + " cannot be dropped");
  }
}

void check_target(const checker& check, const goal_spec& spec) {
  const data_contract& c = spec.data.contract;
  const column_rule* target = known_column(check, spec.target, "target", c);
  for (std::size_t i = 0; i < c.key.size(); ++i)
    if (!spec.target.empty() && c.key[i] == spec.target)
      check.error(at("data.contract.key", i), "conflict", "the target " + in_quotes(spec.target) + " cannot identify a row");
  if (!spec.target.empty() && spec.data.split.group == spec.target)
    check.error("data.split.group", "conflict", "rows cannot be grouped by the target");
  if (!spec.positive.empty() && (spec.task == "regression" || spec.task == "multiclass"))
    check.error("positive", "conflict", "'positive' is for binary tasks, and task is " + spec.task);
  if (target == nullptr)
    return;
  if (spec.task == "regression" && !target->type.empty() && !is_numeric(*target))
    check.error("task", "conflict", "a regression needs a number as its target, and " + in_quotes(spec.target) + " is " + target->type);
  if (!target->values.empty() && !spec.positive.empty() &&
      std::find(target->values.begin(), target->values.end(), spec.positive) == target->values.end())
    check.error("positive", "unknown-value", in_quotes(spec.positive) + " is none of the target's values: " + printable(join(target->values, ", "), 100),
                std::string{nearest(spec.positive, target->values)});
  if (spec.task == "binary" && !target->values.empty() && target->values.size() != 2)
    check.error("task", "conflict", "a binary target has two values, and the contract lists " + std::to_string(target->values.size()));
  if (spec.task == "multiclass" && target->values.size() == 2)
    check.error("task", "conflict", "the contract lists two values for the target", "binary");
  if (target->type == "text" || target->type == "timestamp")
    check.error("target", "conflict", "a column of type " + target->type + " cannot be predicted; make it a category or a number");
  if (target->unique)
    check.error("target", "conflict", "every value of the target comes once only, so there is nothing to learn");
}

void check_metric(const checker& check, const goal_spec& spec) {
  const metric_spec& m = spec.metric;
  const bool regression = m.name == "rmse" || m.name == "mae" || m.name == "r2";
  const char* const goal_of = regression ? "regression" : "classification";
  if ((spec.task == "regression") != regression && spec.task != "auto")
    check.error(check.places.has("metric.name") ? "metric.name" : "task", "conflict",
                "the metric " + m.name + " is for " + goal_of + ", and task is " + spec.task,
                spec.task == "regression" ? "rmse" : "accuracy");
  else if (regression && !spec.positive.empty())
    check.error("positive", "conflict", "'positive' is for binary tasks, and the metric " + m.name + " is for regression");
  const auto range = [&](const std::string& path, double threshold) {
    if (lower_is_better(m.name) ? threshold < 0 : threshold > 1) {
      check.error(path, "range",
                  "the metric " + m.name + (lower_is_better(m.name) ? " is never below 0" : " is never above 1") + ", so a threshold of " +
                      shown_number(threshold) + " makes no sense",
                  threshold > 1 && threshold <= 100 ? shown_number(threshold) + "%" : "");
    } else if (!lower_is_better(m.name) && m.name != "r2" && threshold < 0) {
      check.error(path, "range", "the metric " + m.name + " is never below 0");
    }
  };
  range("metric.threshold", m.threshold);
  if (lower_is_better(m.name) && m.threshold == 0)
    check.error("metric", "missing", "for " + m.name + " less is better, so it needs a threshold above 0", "metric: " + m.name + " <= 10");
  else if (!check.places.has("metric.threshold"))
    check.warning("metric", "missing", "there is no threshold, so any model is good enough; write for example metric: " + m.name + " >= 0.9");

  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < spec.slices.size() && !check.problems.full(); ++i) {
    const slice_spec& s = spec.slices[i];
    const std::string path = at("slices", i);
    if (!s.name.empty() && !seen.insert(s.name).second)
      check.error(dot(path, "name"), "duplicate", "there is a slice " + in_quotes(s.name) + " already");
    check.condition(dot(path, "where"), s.where, spec.data.contract);
    if (s.threshold)
      range(dot(path, "threshold"), *s.threshold);
  }
}

void check_search(const checker& check, const goal_spec& spec, const goal_vocabulary& vocabulary) {
  const search_spec& s = spec.search;
  if (s.families.empty() && !check.places.has("search.families[0]"))
    check.error("search.families", "range", "there is no family to search; remove the key to search all");
  check.distinct("search.families", s.families, "the family");
  for (const auto& [family, parameters] : s.space) {
    if (std::find(s.families.begin(), s.families.end(), family) == s.families.end() && vocabulary.families.contains(family))
      check.error("search.space." + family, "conflict", "the family " + in_quotes(family) + " is not in search.families, so its space is never used");
    for (const auto& [name, r] : parameters) {
      const std::string path = "search.space." + family + "." + name;
      if (!r.choices.empty() && (r.low || r.high || r.log))
        check.error(path, "conflict", in_quotes(name) + " has choices and a range; keep one of them");
      if (r.choices.empty() && !r.low && !r.high && !r.log)
        check.error(path, "missing", in_quotes(name) + " says nothing; write {low: ..., high: ...} or {choices: [...]}");
      if (r.low && r.high && *r.low > *r.high)
        check.error(dot(path, "high"), "conflict", "high " + shown_number(*r.high) + " is below low " + shown_number(*r.low));
      if (r.log.value_or(false) && r.low && *r.low <= 0)
        check.error(dot(path, "low"), "conflict", "a logarithmic range starts above 0");
      check.distinct(dot(path, "choices"), r.choices, "the choice");
    }
  }
  if (check.places.has("resources.trial_time_max") && spec.resources.trial_time_max > s.budget.wall_time)
    check.warning("resources.trial_time_max", "conflict",
                  "one trial may take longer than the whole search (" + exact_duration(s.budget.wall_time) + ")");
}

void check_policy(const checker& check, const policy_spec& p) {
  std::set<std::string_view> actions;
  for (std::size_t i = 0; i < p.approvals.size() && !check.problems.full(); ++i) {
    const approval_rule& a = p.approvals[i];
    const std::string path = at("policy.approvals", i);
    if (!a.action.empty() && !actions.insert(a.action).second)
      check.error(dot(path, "action"), "duplicate", "there is a rule for " + in_quotes(a.action) + " already; list all users in one rule");
    if (a.by.empty() && check.places.has(dot(path, "by")) && !check.places.has(at(dot(path, "by"), 0)))
      check.error(dot(path, "by"), "missing", "nobody may approve " + in_quotes(a.action) + "; write by: [\"@me\"] or name people");
    check.distinct(dot(path, "by"), a.by, "the user");
  }
  if (!actions.contains("rollout") && std::none_of(p.approvals.begin(), p.approvals.end(), [](const auto& a) { return a.action.empty(); }))
    check.error("policy.approvals", "missing", "no rule says who approves 'rollout', so nothing could ever go into production; add {action: rollout, by: [\"@me\"]}");

  std::set<std::string_view> rehearsals;
  for (std::size_t i = 0; i < p.release.require_chaos.size() && !check.problems.full(); ++i) {
    const rehearsal_rule& r = p.release.require_chaos[i];
    const std::string path = at("policy.release.require_chaos", i);
    if (!r.experiment.empty() && !rehearsals.insert(r.experiment).second)
      check.error(dot(path, "experiment"), "duplicate", "the rehearsal " + in_quotes(r.experiment) + " is asked for already");
    const bool hex = r.digest.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!r.digest.empty() && (!hex || r.digest.size() < 12 || r.digest.size() > 64))
      check.error(dot(path, "digest"), "range", "a digest is 12 to 64 of the digits 0-9 and a-f, as `flywheel chaos` prints it");
  }

  const std::vector<double>& steps = p.rollout.steps;
  if (steps.empty() && !check.places.has("policy.rollout.steps[0]"))
    check.error("policy.rollout.steps", "missing", "a rollout needs at least one step", "[100]");
  for (std::size_t i = 1; i < steps.size() && !check.problems.full(); ++i)
    if (steps[i] <= steps[i - 1])
      check.error(at("policy.rollout.steps", i), "conflict",
                  "steps must increase, and " + shown_number(steps[i]) + " comes after " + shown_number(steps[i - 1]));
  if (!steps.empty() && steps.back() != 100) {
    const bool fractions = std::all_of(steps.begin(), steps.end(), [](double x) { return x <= 1; });
    check.error(at("policy.rollout.steps", steps.size() - 1), "conflict",
                fractions ? "steps are percent of the requests, not fractions; the last must be 100"
                          : "the last step must be 100 percent, not " + shown_number(steps.back()));
  }
  if (p.retrain.automatic && p.retrain.per_day_max == 0)
    check.error(check.places.has("policy.retrain.per_day_max") ? "policy.retrain.per_day_max" : "policy.retrain", "conflict",
                "retraining is automatic, but at most 0 times a day; write automatic: false");
}

void check_serve(const checker& check, const serve_spec& s) {
  std::array<unsigned char, 16> binary{};
  if (s.address != "localhost" && inet_pton(AF_INET, s.address.c_str(), binary.data()) != 1 &&
      inet_pton(AF_INET6, s.address.c_str(), binary.data()) != 1)
    check.error("serve.address", "address", in_quotes(s.address) + " is no IP address; write 127.0.0.1 for this machine only, 0.0.0.0 for all",
                nearest(s.address, std::vector<std::string>{"localhost"}).empty() ? "" : "localhost");
}

} // namespace

bool lower_is_better(std::string_view metric) { return metric == "log_loss" || metric == "rmse" || metric == "mae"; }

void check_contract(const data_contract& c, const std::string& path, goal_problems& problems, const goal_places& places) {
  const checker check{problems, places};
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < c.columns.size() && !problems.full(); ++i) {
    const std::string here = at(dot(path, "columns"), i);
    if (!c.columns[i].name.empty() && !seen.insert(c.columns[i].name).second)
      check.error(dot(here, "name"), "duplicate", "the column " + in_quotes(c.columns[i].name) + " is listed already");
    check_column(check, c.columns[i], here);
  }
  std::unordered_set<std::string_view> rules;
  for (std::size_t i = 0; i < c.rules.size() && !problems.full(); ++i) {
    const std::string here = at(dot(path, "rules"), i);
    if (!c.rules[i].name.empty() && !rules.insert(c.rules[i].name).second)
      check.error(dot(here, "name"), "duplicate", "there is a rule " + in_quotes(c.rules[i].name) + " already");
    check.condition(dot(here, "check"), c.rules[i].check, c);
  }
  check.distinct(dot(path, "key"), c.key, "the column");
  for (std::size_t i = 0; i < c.key.size() && !problems.full(); ++i)
    if (const column_rule* k = known_column(check, c.key[i], at(dot(path, "key"), i), c); k != nullptr && k->nullable)
      check.error(at(dot(path, "key"), i), "conflict", "the key column " + in_quotes(c.key[i]) + " is nullable; a key is always there");
  if (c.rows_max && c.rows_min > *c.rows_max)
    check.error(dot(path, "rows_max"), "conflict",
                "rows_max " + std::to_string(*c.rows_max) + " is below rows_min " + std::to_string(c.rows_min));
  if (c.fresh_within && c.time_column.empty())
    check.error(dot(path, "fresh_within"), "conflict", "freshness needs 'time_column', the column that says when a row was true");
  if (const column_rule* t = known_column(check, c.time_column, dot(path, "time_column"), c);
      t != nullptr && (t->type == "category" || t->type == "text" || t->type == "boolean"))
    check.error(dot(path, "time_column"), "conflict", "a column of type " + t->type + " holds no times", "timestamp");
}

void check_goal(const goal_spec& spec, goal_problems& problems, const goal_places& places, const goal_vocabulary& vocabulary) {
  const checker check{problems, places};
  check_contract(spec.data.contract, "data.contract", problems, places);
  check_data(check, spec);
  check_target(check, spec);
  check_metric(check, spec);
  check_search(check, spec, vocabulary);
  check_policy(check, spec.policy);
  check_serve(check, spec.serve);
}

std::string files_near(const std::filesystem::path& missing, std::string& suggestion) {
  std::error_code ec;
  const auto folder = missing.parent_path();
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator i{folder, ec}, end; !ec && i != end && names.size() < 1000; i.increment(ec))
    if (std::error_code ignored; i->is_regular_file(ignored))
      names.push_back(i->path().filename().string());
  if (ec)
    return "; the folder " + printable(folder.string(), 100) + " does not exist either";
  std::sort(names.begin(), names.end());
  suggestion = std::string{nearest(missing.filename().string(), names)};
  if (!suggestion.empty())
    return "";
  std::vector<std::string> shown;
  for (const std::string& n : names)
    if (shown.size() < 4 && std::filesystem::path{n}.extension() == missing.extension())
      shown.push_back(printable(n, 60));
  return shown.empty() ? "" : "; in that folder are " + join(shown, ", ");
}

void check_files(const goal_spec& spec, goal_problems& problems, const goal_places& places) {
  namespace fs = std::filesystem;
  if (spec.data.source.empty())
    return;
  const fs::path file{spec.data.source};
  const goal_place place = places.of("data.source");
  const std::string shown = "'" + printable(file.string(), 200) + "'";
  std::error_code ec;
  const fs::file_status s = fs::status(file, ec);
  if (s.type() == fs::file_type::not_found) {
    std::string suggestion;
    const std::string near = files_near(file, suggestion);
    problems.error(place, "data.source", "not-found", "there is no file " + shown + near, suggestion);
  } else if (ec) {
    problems.error(place, "data.source", "not-found", "the file " + shown + " cannot be reached: " + ec.message());
  } else if (s.type() == fs::file_type::directory) {
    problems.error(place, "data.source", "not-found", shown + " is a folder; name one file");
  }
}

} // namespace flywheel
