#include "actors/data_steward/file_check.hpp"

#include "actors/data_steward/checking_pass.hpp"
#include "actors/data_steward/data_findings.hpp"
#include "actors/data_steward/verdict.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(violation, row, line, column, rule, value)

namespace {

using nlohmann::json;

constexpr std::size_t examples_max = 100, examples_shown = 20, categories_shown = 50;

/// Keeps the first broken rules.
class example_sink final : public pass_sink {
public:
  status take(const checked_block&, std::size_t, const block_checker&, const std::vector<std::uint64_t>&) override { return success(); }
  status reject(const violation& v) override {
    if (examples.size() < examples_max)
      examples.push_back(v);
    return success();
  }
  status withdraw(const std::vector<std::uint64_t>&) override { return success(); }
  std::vector<violation> examples;
};

column_summary summarize(const compiled_column& c, const pass_column& seen) {
  column_summary s;
  s.name = c.name;
  s.type = std::string{name_of(c.type)};
  s.nulls = seen.nulls;
  s.violations = seen.violations;
  s.min = seen.min;
  s.max = seen.max;
  s.distinct = seen.counts.size();
  for (const auto& [label, rows] : seen.counts)
    s.categories.push_back({label, rows});
  std::sort(s.categories.begin(), s.categories.end(),
            [](const auto& a, const auto& b) { return a.rows != b.rows ? a.rows > b.rows : a.label < b.label; });
  if (s.categories.size() > categories_shown)
    s.categories.resize(categories_shown);
  return s;
}

void find_about(const compiled_column& c, const pass_column& seen, std::uint64_t kept, file_report& report) {
  const std::string start = "column '" + printable(c.name, 80) + "'";
  if (is_coded(c.type) && seen.counts.size() <= 10'000) {
    std::vector<std::pair<std::string, std::uint64_t>> counts(seen.counts.begin(), seen.counts.end());
    std::sort(counts.begin(), counts.end());
    for (auto& f : find_spellings(c.name, counts))
      report.findings.push_back(std::move(f));
  }
  if (seen.overflowed)
    report.findings.push_back({"identifier", severity::warning, c.name,
                               start + " has more different texts than a category can have.",
                               "it would be left out; if it is the key, say so in contract.key", true});
  if (kept == 0)
    return;
  if (seen.nulls == kept)
    report.findings.push_back({"all-null", severity::warning, c.name, start + " is empty in every row.",
                               "it would be left out; find out why it is not filled", true});
  else if (seen.nulls == 0 && !seen.overflowed && (is_coded(c.type) ? seen.counts.size() == 1 : seen.min == seen.max))
    report.findings.push_back({"constant", severity::note, c.name, start + " has the same value in every row.",
                               "it would be left out", true});
}

} // namespace

json to_json(const violation& v) {
  json j;
  to_json(j, v);
  return j;
}

json to_json(const file_report& r) {
  json columns = json::array(), examples = json::array(), findings = json::array();
  for (const auto& c : r.columns) {
    json j{{"name", c.name}, {"type", c.type}, {"nulls", c.nulls}, {"violations", c.violations}};
    if (c.min <= c.max && c.distinct == 0) {
      j["min"] = c.min;
      j["max"] = c.max;
    }
    if (c.distinct > 0) {
      j["distinct"] = c.distinct;
      j["categories"] = json::array();
      for (const auto& k : c.categories)
        j["categories"].push_back({{"label", k.label}, {"rows", k.rows}});
    }
    columns.push_back(std::move(j));
  }
  for (const auto& v : r.examples)
    examples.push_back(to_json(v));
  for (const auto& f : r.findings)
    findings.push_back({{"kind", f.kind}, {"level", std::string{name_of(f.level)}}, {"column", f.column}, {"text", f.text},
                        {"advice", f.advice}, {"left_out", f.left_out}});
  return {{"path", r.path}, {"format", r.format}, {"compression", r.compression}, {"contract_inferred", r.contract_inferred},
          {"bytes", r.bytes}, {"rows_read", r.rows_read}, {"rows_bad", r.rows_bad}, {"by_rule", r.by_rule},
          {"key_duplicates", r.key_duplicates}, {"examples", examples}, {"columns", columns}, {"findings", findings},
          {"acceptable", r.acceptable}, {"verdict", r.verdict}};
}

std::string file_report::render(bool colour) const {
  const auto paint = [&](const char* code, const std::string& text) {
    return colour ? std::string{"\x1b["} + code + "m" + text + "\x1b[0m" : text;
  };
  std::string out = path + ": " + format + (compression == "none" ? "" : ", " + compression) + ", " + format_bytes(bytes) +
                    ", " + std::to_string(rows_read) + " rows, " + std::to_string(columns.size()) + " columns" +
                    (contract_inferred ? " (no contract given: types are inferred)" : "") + "\n";
  out += (acceptable ? paint("32", "acceptable") : paint("31", "not acceptable")) + ": " + verdict + "\n";
  if (!by_rule.empty()) {
    out += "\nbroken rules\n";
    for (const auto& [rule, n] : by_rule)
      out += "  " + rule + ": " + std::to_string(n) + "\n";
    out += "\nthe first of them\n";
    for (std::size_t i = 0; i < std::min(examples.size(), examples_shown); ++i) {
      const violation& v = examples[i];
      out += "  " + path + ":" + std::to_string(v.line) + ": row " + std::to_string(v.row) +
             (v.column.empty() ? "" : ", column '" + printable(v.column, 60) + "'") + ": " + v.rule +
             (v.value.empty() ? "" : ": " + v.value) + "\n";
    }
  }
  if (!findings.empty()) {
    out += "\nfindings\n";
    for (const auto& f : findings)
      out += "  " + paint(f.level == severity::note ? "36" : "33", std::string{name_of(f.level)}) + ": " + f.text +
             (f.advice.empty() ? "" : " -> " + f.advice) + "\n";
  }
  out += "\ncolumns\n";
  std::size_t width = 0;
  for (const auto& c : columns)
    width = std::max(width, std::min<std::size_t>(40, c.name.size()));
  for (const auto& c : columns) {
    std::string name = printable(c.name, 40);
    name.resize(std::max(name.size(), width), ' ');
    out += "  " + name + "  " + c.type;
    if (c.distinct > 0) {
      out += ", " + std::to_string(c.distinct) + " values";
      for (std::size_t i = 0; i < std::min<std::size_t>(3, c.categories.size()); ++i)
        out += (i == 0 ? ": '" : ", '") + printable(c.categories[i].label, 30) + "' " + std::to_string(c.categories[i].rows);
      out += c.distinct > 3 ? ", ..." : "";
    } else if (c.min <= c.max) {
      out += ", " + format_number(c.min) + " to " + format_number(c.max);
    }
    if (c.nulls > 0)
      out += ", " + std::to_string(c.nulls) + " null";
    if (c.violations > 0)
      out += ", " + paint("31", std::to_string(c.violations) + " bad");
    out += "\n";
  }
  return out;
}

result<file_report> check_file(const data_spec& wish, const check_options& options, const std::atomic<bool>& stop) {
  data_spec data = wish;
  file_report report;
  report.path = data.source;
  if (data.contract.columns.empty()) {
    FLYWHEEL_TRY(auto draft, infer_contract(data, options, stop));
    data.contract.columns = lenient_columns(draft.contract);
    report.contract_inferred = true;
  }
  FLYWHEEL_TRY(const auto contract, compile_contract(data.contract));
  example_sink sink;
  FLYWHEEL_TRY(const auto seen, run_pass(data, contract, options, nullptr, &sink, stop));
  report.format = seen.format;
  report.compression = seen.compression;
  report.bytes = seen.bytes;
  report.rows_read = seen.rows_read;
  report.rows_bad = seen.rows_bad;
  report.by_rule = seen.by_rule;
  report.key_duplicates = seen.key_duplicates;
  report.examples = std::move(sink.examples);
  for (std::size_t i = 0; i < contract.columns.size(); ++i) {
    report.columns.push_back(summarize(contract.columns[i], seen.columns[i]));
    find_about(contract.columns[i], seen.columns[i], seen.rows_read - seen.rows_bad, report);
  }
  for (const auto& name : seen.not_in_contract)
    report.findings.push_back({"not-in-contract", severity::note, name, "column '" + name + "' is not in the contract.",
                               "it would be left out; add it to contract.columns to use it", true});
  const auto verdict = judge(data, contract, seen, options.now);
  report.acceptable = verdict.acceptable;
  report.verdict = verdict.sentence + (verdict.hint.empty() ? "" : "; " + verdict.hint);
  return report;
}

} // namespace flywheel
