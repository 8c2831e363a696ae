#include "actors/data_steward/steward.hpp"

#include "actors/data_steward/checking_pass.hpp"
#include "actors/data_steward/compiled_contract.hpp"
#include "actors/data_steward/data_findings.hpp"
#include "actors/data_steward/row_table.hpp"
#include "actors/data_steward/split_planner.hpp"
#include "actors/data_steward/verdict.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/random.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/dataset/table_format.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <unistd.h>
#include <unordered_set>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// The quarantine is written while the pass runs, before the snapshot has a name; gone if there will be no snapshot.
class temporary_file {
public:
  explicit temporary_file(fs::path path) : path_(std::move(path)) {}
  ~temporary_file() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  temporary_file(const temporary_file&) = delete;
  temporary_file& operator=(const temporary_file&) = delete;
  const fs::path& path() const { return path_; }

private:
  fs::path path_;
};

error no_target(const goal_spec& goal, const std::vector<std::string>& names) {
  const auto near = nearest(goal.target, names);
  return {errc::invalid_goal, "the data has no column '" + printable(goal.target, 80) + "'", "target",
          near.empty() ? "the columns are " + printable(join(names, ", "), 300) : "did you mean '" + std::string{near} + "'?"};
}

/// Whether the target is a class; makes a numeric target one if so. Fills `report.task`.
result<bool> settle_task(const goal_spec& goal, table& t, snapshot_report& report) {
  const auto at = std::find_if(t.columns.begin(), t.columns.end(), [&](const column& c) { return c.name == goal.target; });
  if (at == t.columns.end())
    return error{errc::invalid_data, "the target '" + goal.target + "' has more different texts than a class can have",
                 goal.data.source, "choose another target, or give its type in data.contract"};
  column& target = *at;
  std::set<double> values;
  if (target.type == column_type::numeric)
    for (const double x : target.numbers)
      if (values.size() <= 1000)
        values.insert(x);
  const bool coded = target.type == column_type::categorical;
  if (goal.task == "regression") {
    if (coded)
      return error{errc::invalid_goal, "the target '" + goal.target + "' holds classes, not numbers", "task",
                   "use task: binary or multiclass, or give the column a numeric type"};
    if (values.size() < 2)
      return error{errc::invalid_data, "the target '" + goal.target + "' has one value in every row: there is nothing to learn",
                   goal.data.source};
    report.task = "regression";
    return false;
  }
  if (goal.task == "auto" && !coded && values.size() != 2) {
    report.task = "regression";
    if (values.size() < 2)
      return error{errc::invalid_data, "the target '" + goal.target + "' has one value in every row: there is nothing to learn",
                   goal.data.source};
    return false;
  }
  if (!coded) {
    if (values.size() > 1000)
      return error{errc::invalid_goal, "the target '" + goal.target + "' has more than 1,000 different numbers", "task",
                   "use task: regression"};
    column classes;
    classes.name = target.name;
    classes.type = column_type::categorical;
    std::unordered_map<double, std::int32_t> code;
    for (const double x : target.numbers) {
      const auto [known, added] = code.emplace(x, static_cast<std::int32_t>(classes.categories.size()));
      if (added)
        classes.categories.push_back(format_number(x));
      classes.codes.push_back(known->second);
    }
    target = std::move(classes);
  }
  std::vector<std::uint64_t> counts(target.categories.size());
  for (const auto code : target.codes)
    ++counts[static_cast<std::size_t>(code)];
  for (std::size_t i = 0; i < counts.size(); ++i)
    report.classes.push_back({target.categories[i], counts[i]});
  std::stable_sort(report.classes.begin(), report.classes.end(), [](const auto& a, const auto& b) { return a.rows > b.rows; });
  if (report.classes.size() < 2)
    return error{errc::invalid_data,
                 "every row has the same class " + (report.classes.empty() ? std::string{} : "'" + printable(report.classes[0].label, 60) + "' ") +
                     "of '" + goal.target + "': there is nothing to learn",
                 goal.data.source, "bring rows of the other class"};
  if (goal.task == "binary" && report.classes.size() != 2)
    return error{errc::invalid_goal, "the target '" + goal.target + "' has " + std::to_string(report.classes.size()) + " classes",
                 "task", "use task: multiclass"};
  report.task = report.classes.size() == 2 ? "binary" : "multiclass";
  return true;
}

/// Categories as the training part meets them first; the held-out part's own come after, in its table only.
void order_categories(table& train, table& holdout) {
  for (std::size_t i = 0; i < train.columns.size(); ++i) {
    column& a = train.columns[i];
    column& b = holdout.columns[i];
    if (a.type != column_type::categorical)
      continue;
    std::vector<std::int32_t> fresh(a.categories.size(), -1);
    std::vector<std::string> names;
    const auto renumber = [&](std::vector<std::int32_t>& codes) {
      for (auto& code : codes)
        if (code >= 0) {
          auto& to = fresh[static_cast<std::size_t>(code)];
          if (to < 0) {
            to = static_cast<std::int32_t>(names.size());
            names.push_back(a.categories[static_cast<std::size_t>(code)]);
          }
          code = to;
        }
    };
    renumber(a.codes);
    auto training_names = names;
    renumber(b.codes);
    b.categories = std::move(names);
    a.categories = std::move(training_names);
  }
}

result<split_input> look_for_split(const goal_spec& goal, const table& t, bool classification) {
  split_input in;
  in.identity = t.row_ids;
  const data_split& wish = goal.data.split;
  if (wish.strategy == "stratified") {
    const column& target = *t.find(goal.target);
    in.stratum.reserve(t.rows());
    if (classification) {
      in.stratum.assign(target.codes.begin(), target.codes.end());
    } else { // tenths of the target's range, by rank
      std::vector<double> sorted = target.numbers;
      std::sort(sorted.begin(), sorted.end());
      for (const double x : target.numbers) {
        const auto rank = std::lower_bound(sorted.begin(), sorted.end(), x) - sorted.begin();
        in.stratum.push_back(10 * rank / static_cast<std::int64_t>(sorted.size()));
      }
    }
  } else if (wish.strategy == "grouped") {
    const column* group = t.find(wish.group);
    if (group == nullptr)
      return error{errc::invalid_goal, "there is no column '" + printable(wish.group, 80) + "' to group by", "data.split.group"};
    for (std::size_t i = 0; i < t.rows(); ++i) {
      const std::string text = group->type == column_type::numeric ? format_number(group->numbers[i])
                               : group->codes[i] < 0              ? std::string{}
                                                     : group->categories[static_cast<std::size_t>(group->codes[i])];
      in.group.push_back(stable_hash(text));
    }
  } else if (wish.strategy == "time") {
    const column* time = t.find(goal.data.contract.time_column);
    if (time == nullptr || time->type != column_type::numeric)
      return error{errc::invalid_goal, "a split by time needs a time column", "data.contract.time_column",
                   "name the column that holds the time"};
    in.time = time->numbers;
  }
  return in;
}

std::vector<std::string> without(const std::vector<std::string>& names, const std::unordered_set<std::string>& gone) {
  std::vector<std::string> out;
  for (const auto& n : names)
    if (!gone.contains(n))
      out.push_back(n);
  return out;
}

/// What training may learn from, and everything worth saying about the columns. Looks at training rows only.
void find_everything(const goal_spec& goal, const compiled_contract& contract, const table& train, bool classification,
                     snapshot_report& report) {
  std::unordered_set<std::string> gone{goal.target};
  gone.insert(goal.data.drop.begin(), goal.data.drop.end());
  gone.insert(goal.data.contract.key.begin(), goal.data.contract.key.end());
  if (goal.data.split.strategy == "grouped")
    gone.insert(goal.data.split.group);
  std::vector<std::string> candidates;
  for (const auto& c : contract.columns) {
    if (gone.contains(c.name) || train.find(c.name) == nullptr)
      continue;
    if (c.type == cell_type::text) {
      report.findings.push_back({"free-text", severity::note, c.name, "column '" + c.name + "' is free text.",
                                 "it is left out: no family here reads text; if it holds a few values, make its type category", true});
      gone.insert(c.name);
    } else {
      candidates.push_back(c.name);
    }
  }
  const auto take = [&](std::vector<data_finding> found) {
    for (auto& f : found) {
      if (f.left_out)
        gone.insert(f.column);
      report.findings.push_back(std::move(f));
    }
    candidates = without(candidates, gone);
  };
  take(find_idle_columns(train, candidates));
  take(find_leaks(train, goal.target, classification, candidates));
  take(find_redundant(train, candidates));
  for (const column& c : train.columns)
    if (c.type == column_type::categorical && c.categories.size() <= 10'000) {
      std::vector<std::pair<std::string, std::uint64_t>> counts;
      for (const auto& text : c.categories)
        counts.emplace_back(text, 0);
      for (const auto code : c.codes)
        if (code >= 0)
          ++counts[static_cast<std::size_t>(code)].second;
      take(find_spellings(c.name, counts));
    }
  report.features = candidates;
}

/// Held-out rows whose signature a training row has too.
std::uint64_t count_twins(const std::vector<std::uint64_t>& signature, const split_plan& split) {
  if (signature.empty())
    return 0;
  std::vector<std::uint64_t> training;
  training.reserve(split.train.size());
  for (const auto i : split.train)
    training.push_back(signature[i]);
  std::sort(training.begin(), training.end());
  return static_cast<std::uint64_t>(std::count_if(split.holdout.begin(), split.holdout.end(), [&](std::uint32_t i) {
    return std::binary_search(training.begin(), training.end(), signature[i]);
  }));
}

std::string plural(std::uint64_t n, std::string_view thing) {
  return std::to_string(n) + " " + std::string{thing} + (n == 1 ? "" : "s");
}

void tell_about_rows(const goal_spec& goal, snapshot_report& report) {
  if (report.exact_duplicates > 0)
    report.findings.push_back({"duplicates", severity::note, "",
                               plural(report.exact_duplicates, "row") + " repeat an earlier one in every column.",
                               "they are kept; name the columns that identify a row in contract.key if they are copies", false});
  if (report.near_duplicates > 0)
    report.findings.push_back({"near-duplicates", severity::note, "",
                               plural(report.near_duplicates, "row") + " equal an earlier one but for the last digits of numbers.",
                               "they are kept; look for rows that were entered twice", false});
  if (report.twins_across_split > 0)
    report.findings.push_back({"twins", severity::warning, "",
                               plural(report.twins_across_split, "held-out row") + " also lie in the training part, value by value.",
                               "the held-out result is too good by these; use a key, or split by group", false});
  if (report.classes.size() >= 2) {
    const auto& rare = report.classes.back();
    const double share = static_cast<double>(rare.rows) / static_cast<double>(report.rows_kept);
    if (share < 0.05 || rare.rows < 50)
      report.findings.push_back({"class-balance", severity::warning, goal.target,
                                 "class '" + printable(rare.label, 60) + "' of '" + goal.target + "' has only " +
                                     plural(rare.rows, "row") + " (" + format_percent(share) + ").",
                                 "accuracy alone says little here; look at balanced accuracy, f1 or auc too", false});
  }
}

struct prepared {
  snapshot_info info;
  std::string train, sealed_plain, profile, report;
};

status write_snapshot(const fs::path& folder, const prepared& p, const std::string& sealed, const fs::path& quarantine) {
  FLYWHEEL_CHECK(publish_file(folder / "train.fwt", p.train));
  FLYWHEEL_CHECK(publish_file(folder / "holdout.sealed", sealed));
  FLYWHEEL_CHECK(publish_file(folder / "profile.json", p.profile));
  FLYWHEEL_CHECK(publish_file(folder / "report.json", p.report));
  std::error_code code;
  fs::copy_file(quarantine, folder / "quarantine.jsonl", code);
  if (code)
    return error_from_errno(code.value(), "copy the quarantine to " + folder.string());
  return publish_file(folder / "snapshot.json", encode_snapshot_info(p.info));
}

/// An equal snapshot that is there already, if it is whole and ours.
result<bool> reusable(const fs::path& folder, const seal_public_key& evaluator) {
  std::error_code code;
  if (!fs::exists(folder / "snapshot.json", code))
    return false;
  FLYWHEEL_CHECK(verify_snapshot(folder));
  FLYWHEEL_TRY(const auto info, load_snapshot_info(folder));
  if (info.sealed_for != evaluator.hex())
    return error{errc::already_exists, "this snapshot was sealed for another evaluator", folder.string(),
                 "remove the folder, or use the state directory that it belongs to"};
  return true;
}

} // namespace

result<snapshot_report> ingest(const goal_spec& goal, const fs::path& snapshots_root, const seal_public_key& evaluator,
                               const check_options& options, const std::atomic<bool>& stop) {
  std::error_code code;
  fs::create_directories(snapshots_root, code);
  if (code)
    return error_from_errno(code.value(), "create " + snapshots_root.string());

  snapshot_report report;
  data_spec data = goal.data;
  if (data.contract.columns.empty()) {
    FLYWHEEL_TRY(auto draft, infer_contract(data, options, stop));
    data.contract.columns = lenient_columns(draft.contract);
    report.contract_inferred = true;
  }
  FLYWHEEL_TRY(auto contract, compile_contract(data.contract));
  const auto target = std::find_if(contract.columns.begin(), contract.columns.end(), [&](const auto& c) { return c.name == goal.target; });
  if (target == contract.columns.end()) {
    std::vector<std::string> names;
    for (const auto& c : contract.columns)
      names.push_back(c.name);
    return no_target(goal, names);
  }
  target->nullable = false; // nothing can be learnt from a row without an answer

  hasher hash;
  const temporary_file quarantine{snapshots_root / ("quarantine.tmp-" + std::to_string(::getpid()) + "-" + std::to_string(os_entropy()))};
  FLYWHEEL_TRY(auto rows, row_table::create(contract, quarantine.path()));
  FLYWHEEL_TRY(const auto summary, run_pass(data, contract, options, &hash, &rows, stop));
  const std::string source_sha256 = hash.finish().hex();
  report.bytes = summary.bytes;
  report.rows_read = summary.rows_read;
  report.rows_quarantined = summary.rows_bad;
  report.rows_kept = summary.rows_read - summary.rows_bad;
  report.quarantined_by_rule = summary.by_rule;
  report.key_duplicates = summary.key_duplicates;
  if (const auto verdict = judge(data, contract, summary, options.now); !verdict.acceptable)
    return error{errc::invalid_data, verdict.sentence, data.source, verdict.hint};

  std::vector<std::string> overflowed;
  FLYWHEEL_TRY(table all, rows.finish(overflowed));
  for (const auto& name : overflowed)
    report.findings.push_back({"identifier", severity::warning, name,
                               "column '" + name + "' has more different texts than a category can have.",
                               "it is left out of the snapshot", true});
  for (const auto& name : summary.not_in_contract)
    report.findings.push_back({"not-in-contract", severity::note, name, "column '" + name + "' is not in the contract.",
                               "it is left out; add it to contract.columns to use it", true});
  FLYWHEEL_TRY(const bool classification, settle_task(goal, all, report));
  FLYWHEEL_TRY(const auto split_by, look_for_split(goal, all, classification));
  FLYWHEEL_TRY(const auto split, plan_split(data.split, split_by));

  const std::unordered_set<std::string> keys(data.contract.key.begin(), data.contract.key.end());
  std::vector<std::string> compared;
  for (const column& c : all.columns)
    if (!keys.contains(c.name))
      compared.push_back(c.name);
  auto duplicates = find_duplicates(all, compared);
  report.exact_duplicates = duplicates.exact;
  report.near_duplicates = duplicates.near;
  report.twins_across_split = count_twins(duplicates.signature, split);
  duplicates = {};

  table train = all.select(split.train), holdout = all.select(split.holdout);
  all = {};
  order_categories(train, holdout);
  report.train_rows = train.rows();
  report.holdout_rows = holdout.rows();
  const column& answers = *train.find(goal.target);
  if (classification && answers.categories.size() < 2)
    return error{errc::invalid_data, "the training part has a single class of '" + goal.target + "'", "data.split",
                 "use strategy: stratified"};
  find_everything(goal, contract, train, classification, report);
  tell_about_rows(goal, report);
  if (report.features.empty())
    return error{errc::invalid_data, "no column is left to learn from", data.source,
                 report.findings.empty() ? "" : "the first reason: " + report.findings.front().text};

  prepared p;
  p.train = encode_table(train);
  p.sealed_plain = encode_table(holdout);
  p.profile = to_json(build_profile(train, goal.target)).dump() + "\n";
  p.info.source = data.source;
  p.info.source_sha256 = source_sha256;
  p.info.source_bytes = report.bytes;
  p.info.contract_sha256 = contract_digest(data.contract);
  p.info.contract_inferred = report.contract_inferred;
  p.info.target = goal.target;
  p.info.task = report.task;
  p.info.classes = answers.categories;
  p.info.features = report.features;
  p.info.split = data.split.strategy;
  p.info.train_rows = report.train_rows;
  p.info.holdout_rows = report.holdout_rows;
  p.info.holdout_sha256 = digest_of(p.sealed_plain).hex();
  p.info.sealed_for = evaluator.hex();
  p.info.created = to_iso8601(options.now);
  p.info.files["train.fwt"] = digest_of(p.train).hex();
  p.info.files["profile.json"] = digest_of(p.profile).hex();
  FLYWHEEL_TRY(const auto quarantine_digest, digest_of_file(quarantine.path()));
  p.info.files["quarantine.jsonl"] = quarantine_digest.hex();
  p.info.name = snapshot_name_of(p.info);
  report.snapshot = p.info.name;
  const fs::path folder = snapshots_root / p.info.name;
  p.report = to_json(report).dump(2) + "\n";
  report.folder = folder.string();
  p.info.files["report.json"] = digest_of(p.report).hex();

  FLYWHEEL_TRY(report.reused, reusable(folder, evaluator));
  if (report.reused)
    return report;
  FLYWHEEL_TRY(const std::string sealed, seal(evaluator, p.sealed_plain, p.info.name));
  p.info.files["holdout.sealed"] = digest_of(sealed).hex();
  const auto published = publish_folder(folder, [&](const fs::path& temporary) {
    return write_snapshot(temporary, p, sealed, quarantine.path());
  });
  if (!published) {
    if (published.error().code != errc::already_exists)
      return published.error();
    FLYWHEEL_TRY(report.reused, reusable(folder, evaluator)); // somebody else published the same in the meantime
  }
  return report;
}

} // namespace flywheel
