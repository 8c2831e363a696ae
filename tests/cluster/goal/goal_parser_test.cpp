#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

const fs::path source{FLYWHEEL_SOURCE_DIR};
const fs::path broken = source / "tests/cluster/goal/broken"; // data.csv and contract.yaml there are good

std::string contents(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

const std::string small = "name: churn\ndata: {source: data.csv}\ntarget: churn\nmetric: accuracy >= 95%\n";

goal_spec parsed(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const goal_parse p = parse_goal(text, broken, overrides);
  EXPECT_TRUE(p.ok()) << p.render("goal.yaml", text, false);
  return p.spec;
}
/// Everything said about the text, without source lines.
std::vector<std::string> said(const std::string& text, const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> out;
  for (const goal_problem& p : parse_goal(text, broken, overrides).problems)
    out.push_back((p.file.empty() ? "" : p.file + ":") + std::to_string(p.line) + ":" + std::to_string(p.column) + " " + p.rule + ": " +
                  p.message + (p.suggestion.empty() ? "" : " -> " + p.suggestion));
  return out;
}
using lines = std::vector<std::string>;

class temporary_folder {
public:
  temporary_folder() {
    std::string name = (fs::temp_directory_path() / "goal_test_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~temporary_folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const { std::ofstream{path_ / name, std::ios::binary} << text; }

private:
  fs::path path_;
};

TEST(goal_example, churn_is_a_goal_without_a_single_remark) {
  const auto p = parse_goal_file(source / "examples/churn/goal.yaml");
  ASSERT_TRUE(p) << p.error().to_string();
  EXPECT_TRUE(p->problems.empty()) << p->render("goal.yaml", contents(source / "examples/churn/goal.yaml"), false);
  const goal_spec& g = p->spec;
  EXPECT_EQ(g.name, "churn");
  EXPECT_EQ(g.data.source, (source / "examples/churn/churn.csv").string());
  EXPECT_EQ(g.data.contract.columns.size(), 20U);
  EXPECT_EQ(g.data.contract.rules.size(), 3U);
  EXPECT_EQ(g.data.split.strategy, "tail");
  EXPECT_EQ(g.data.split.holdout_rows, 1667U);
  EXPECT_EQ(g.metric.name, "accuracy");
  EXPECT_EQ(g.metric.threshold, 0.95);
  EXPECT_EQ(g.positive, "yes");
  EXPECT_EQ(g.slices.size(), 2U);
  EXPECT_EQ(g.search.budget.wall_time, 150s);
  EXPECT_EQ(g.policy.rollout.steps, (std::vector<double>{5, 25, 100}));
  EXPECT_EQ(g.serve.model, "churn");
}

TEST(goal_parser, what_is_left_out_gets_its_default) {
  const goal_spec g = parsed(small), d;
  EXPECT_EQ(g.version, 1U);
  EXPECT_EQ(g.task, "auto");
  EXPECT_EQ(g.search.families, d.search.families);
  EXPECT_EQ(g.search.budget.trials, d.search.budget.trials);
  EXPECT_EQ(g.policy.approvals.size(), 1U);
  EXPECT_EQ(g.policy.approvals[0].by, (std::vector<std::string>{"@me"}));
  EXPECT_EQ(g.resources.worker_memory, 2ULL << 30);
  EXPECT_EQ(g.serve.model, "churn");
  EXPECT_EQ(g.metric.threshold, 0.95);
  EXPECT_FALSE(g.data.split.holdout_rows);
}

TEST(goal_parser, values_are_read_as_the_field_says_not_as_yaml_guesses) {
  const goal_spec g = parsed(small + "positive: yes\ndescription: 2024\nslices:\n  - calls >= 4\n"
                                     "search: {budget: {wall_time: 1h30m, slot_seconds: 1e3}, space: {mlp: {batch: {choices: [32, 64]}}}}\n"
                                     "resources: {worker_memory: 1.5GiB}\n");
  EXPECT_EQ(g.positive, "yes");
  EXPECT_EQ(g.description, "2024");
  EXPECT_EQ(g.slices[0].name, "calls >= 4");
  EXPECT_EQ(g.slices[0].where, "calls >= 4");
  EXPECT_EQ(g.search.budget.wall_time, 90min);
  EXPECT_EQ(g.search.budget.slot_seconds, 1000);
  EXPECT_EQ(g.search.space.at("mlp").at("batch").choices, (std::vector<std::string>{"32", "64"}));
  EXPECT_EQ(g.resources.worker_memory, 3ULL << 29);
}

TEST(goal_parser, null_tokens_may_be_written_as_yaml_writes_null) {
  const goal_spec g = parsed("name: a\ndata: {source: data.csv, contract: {null_tokens: [NA, null, ~, '', \"null \"]}}\n"
                             "target: churn\nmetric: f1 >= 0.5\n");
  EXPECT_EQ(g.data.contract.null_tokens, (std::vector<std::string>{"NA", "null", "~", "", "null "}));
}

TEST(goal_parser, json_is_a_goal_too) {
  const goal_spec g = parsed("{\n\t\"name\": \"churn\", \"target\": \"churn\",\n\t\"data\": {\"source\": \"data.csv\"},\n"
                             "\t\"metric\": {\"name\": \"accuracy\", \"threshold\": 0.95}\n}\n");
  EXPECT_EQ(digest_of(g), digest_of(parsed(small)));
}

TEST(goal_parser, a_byte_order_mark_is_no_part_of_the_text) {
  EXPECT_EQ(digest_of(parsed("\xef\xbb\xbf" + small)), digest_of(parsed(small)));
  EXPECT_EQ(said("\xef\xbb\xbf" "nmae: x\ntarget: t\ndata: {source: data.csv}\nmetric: f1 >= 0.5\n"),
            (lines{"1:1 unknown-key: unknown key 'nmae' -> name"}));
}

TEST(goal_parser, all_problems_are_told_at_once_and_columns_count_characters) {
  EXPECT_EQ(said("name: chürn, x\ndata: {source: data.csv, formt: csv}\ntarget: churn\ntarget: other\nmetric: accuracy >= 0.9\n"
                 "serve: {model: \"größe\", prt: 80}\n"),
            (lines{"1:7 name: 'chürn, x' is no name; use letters, digits, '-', '_' and '.', at most 64, not starting with '-' or '.' -> ch--rn--x",
                   "2:26 unknown-key: unknown key 'formt' in 'data' -> format",
                   "4:1 duplicate-key: the key 'target' is already set on line 3; keep one of them",
                   "6:16 name: 'größe' is no name; use letters, digits, '-', '_' and '.', at most 64, not starting with '-' or '.' -> gr----e",
                   "6:25 unknown-key: unknown key 'prt' in 'serve' -> port"}));
}

TEST(goal_parser, the_same_goal_has_the_same_digest_however_it_is_written) {
  const goal_spec a = parsed("name: a\ntarget: t\ndata: {source: data.csv}\nmetric: accuracy >= 0.9\nsearch: {budget: {wall_time: 600s}}\n");
  const goal_spec b = parsed("# a comment\nsearch:\n  budget:\n    wall_time: 10m\nmetric:\n  threshold: 90%\n  name: accuracy\n"
                             "data:\n  source: ./data.csv\ntarget: 't'\nname: \"a\"\n");
  EXPECT_EQ(digest_of(a), digest_of(b));
  EXPECT_NE(digest_of(a), digest_of(parsed(small)));
}

TEST(goal_parser, the_canonical_form_is_a_goal_and_the_same_one) {
  const std::string text = contents(source / "examples/churn/goal.yaml");
  const goal_parse p = parse_goal(text, source / "examples/churn",
                                  {"search.space.gbt.max_depth={low: 3, high: 8}", "search.space.mlp.batch={choices: [32, 64]}",
                                   "data.contract.fresh_within=7d", "data.contract.time_column=account_length", "data.split.holdout=0.3"});
  ASSERT_TRUE(p.ok()) << p.render("goal.yaml", text, false);
  const json canonical = to_json(p.spec);
  for (const std::string& written : {canonical.dump(), canonical.dump(2)}) {
    const goal_parse again = parse_goal(written, "/nowhere");
    ASSERT_TRUE(again.ok()) << again.render("canonical", written, false);
    EXPECT_EQ(to_json(again.spec), canonical);
    EXPECT_EQ(digest_of(again.spec), digest_of(p.spec));
  }
  const auto back = goal_from_json(json::parse(canonical.dump()));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(to_json(*back), canonical);
}

TEST(goal_parser, canonical_numbers_are_exact) {
  goal_spec g = parsed(small);
  g.metric.threshold = 0.1 + 0.2;
  g.search.budget.wall_time = nanoseconds{1'234'567'891};
  g.resources.worker_memory = (5ULL << 30) + 1;
  g.policy.watch.p_value_min = 1e-9;
  const auto back = goal_from_json(json::parse(to_json(g).dump()));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(back->metric.threshold, 0.1 + 0.2);
  EXPECT_EQ(back->search.budget.wall_time, nanoseconds{1'234'567'891});
  EXPECT_EQ(back->resources.worker_memory, (5ULL << 30) + 1);
  EXPECT_EQ(back->policy.watch.p_value_min, 1e-9);
}

TEST(goal_from_json, trusts_nothing) {
  const json good = to_json(parsed(small));
  EXPECT_TRUE(goal_from_json(good));
  const auto broken_by = [&](const json::json_pointer& at, const json& value) {
    json j = good;
    j[at] = value;
    return goal_from_json(j);
  };
  using p = json::json_pointer;
  for (const auto& [at, value] : std::vector<std::pair<p, json>>{{p{"/name"}, 7.5e300}, {p{"/name"}, "../x"}, {p{"/search/budget/trials"}, 0},
                                                                 {p{"/search/budget/trials"}, "40"}, {p{"/search"}, json::array()},
                                                                 {p{"/search/budget/trials"}, -1}, {p{"/search/budget/trials"}, 1e300},
                                                                 {p{"/surprise"}, 1}, {p{"/policy/rollout/steps"}, {5, 4}},
                                                                 {p{"/target"}, nullptr}, {p{"/data/drop"}, {"churn"}},
                                                                 {p{"/description"}, "\xff"}, {p{"/flywheel"}, 2}}) {
    const auto r = broken_by(at, value);
    EXPECT_FALSE(r) << at.to_string();
    if (!r) {
      EXPECT_TRUE(r.error().code == errc::invalid_goal || r.error().code == errc::too_large) << r.error().to_string();
    }
  }
  json deep = 1;
  for (int i = 0; i < 100; ++i)
    deep = json{{"a", deep}};
  EXPECT_FALSE(goal_from_json(deep));
  EXPECT_FALSE(goal_from_json(json{}));
  EXPECT_FALSE(goal_from_json(json::array()));
}

// --- overrides ---

TEST(goal_overrides, replace_and_add_before_validation) {
  const goal_spec g = parsed(small + "slices:\n  - {name: a, where: calls > 1}\n",
                             {"search.budget.trials=7", "search.families=[gbt]", "metric.threshold=0.5", "slices[0].threshold=40%",
                              "slices.0.name=b", "search.space.gbt.max_depth.low=3", "search.space.gbt.max_depth.high=5", "description=",
                              "positive=yes", "policy.rollout={steps: [50, 100]}"});
  EXPECT_EQ(g.search.budget.trials, 7U);
  EXPECT_EQ(g.search.families, (std::vector<std::string>{"gbt"}));
  EXPECT_EQ(g.metric.name, "accuracy");
  EXPECT_EQ(g.metric.threshold, 0.5);
  EXPECT_EQ(g.slices[0].threshold, 0.4);
  EXPECT_EQ(g.slices[0].name, "b");
  EXPECT_EQ(g.search.space.at("gbt").at("max_depth").low, 3);
  EXPECT_EQ(g.positive, "yes");
  EXPECT_EQ(g.policy.rollout.steps, (std::vector<double>{50, 100}));
}

TEST(goal_overrides, a_later_one_wins_and_can_mend_the_file) {
  EXPECT_EQ(parsed(small, {"search.seed=2", "search.seed=3"}).search.seed, 3U);
  EXPECT_EQ(parsed("name: a b\ndata: {source: data.csv}\ntarget: t\nmetric: f1 >= 0.5\n", {"name=ab"}).name, "ab");
  EXPECT_EQ(parsed("", {"name=a", "data.source=data.csv", "target=t", "metric=f1 >= 0.5"}).metric.threshold, 0.5);
}

TEST(goal_overrides, bad_ones_are_placed_in_themselves) {
  EXPECT_EQ(said(small, {"search.budget.trails=7", "search.budget.trials=-7", "nothing", "=3", "a..b=1", "slices[3].name=x",
                         "search.families=[gbt", "metric.name= acuracy"}),
            (lines{"<override 1>:1:15 unknown-key: unknown key 'trails' in 'search.budget' -> trials",
                   "<override 2>:1:22 range: 'trials' must be at least 1, not -7",
                   "<override 3>:1:1 override: an override is key=value, for example search.budget.trials=10",
                   "<override 4>:1:1 override: an override is key=value, for example search.budget.trials=10",
                   "<override 5>:1:3 override: a key is missing in the path",
                   "<override 6>:1:1 override: there is no list here; set the whole list",
                   "<override 7>:1:17 syntax: the '[' is never closed; add ']'",
                   "<override 8>:1:14 choice: 'acuracy' is not possible for 'metric.name'; one of accuracy, balanced_accuracy, f1, auc, log_loss, rmse, mae, r2 -> accuracy"}));
}

// --- contracts in their own file ---

TEST(goal_contract_file, is_read_beside_the_goal_and_can_be_overridden) {
  const std::string text = "name: churn\ndata:\n  source: data.csv\n  contract: contract.yaml\ntarget: churn\nmetric: accuracy >= 0.9\n";
  const goal_spec g = parsed(text, {"data.contract.rows_min=2"});
  EXPECT_EQ(g.data.contract.columns.size(), 3U);
  EXPECT_EQ(g.data.contract.rows_min, 2U);
}

TEST(goal_contract_file, its_problems_are_placed_and_shown_in_it) {
  const std::string text = "name: churn\ndata:\n  source: data.csv\n  contract: broken_contract.txt\ntarget: churn\nmetric: accuracy >= 0.9\n";
  const std::string shown = parse_goal(text, broken).render("goal.yaml", text, false);
  EXPECT_NE(shown.find("broken_contract.txt:2:34: error: unknown key 'nulable'"), std::string::npos) << shown;
  EXPECT_NE(shown.find("    2 |   - {name: calls, type: integer, nulable: true}"), std::string::npos) << shown;
}

TEST(contract, alone_parses_with_or_without_its_key_and_goes_to_yaml_and_back) {
  const std::string text = "columns:\n"
                           "  - {name: a b, type: number, min: -1.5, max: 1e6, nullable: true}\n"
                           "  - {name: \"yes\", type: category, values: [\"no\", \"1\", 'it''s \\', \"x: #y\", \"\", \"~\", \"\\u00e4\\n\"]}\n"
                           "  - {name: at, type: timestamp}\n"
                           "  - {name: code, type: text, pattern: '[A-Z]{2}\\d+', unique: true}\n"
                           "rules: [{name: r, check: '`a b` > 0 or yes == \"no\"'}, 'at is not null']\n"
                           "key: [code]\nnull_tokens: [\"\", \"?\"]\nrows_min: 3\nrows_max: 9\nbad_rows_max: 2%\ntime_column: at\nfresh_within: 36h\n";
  const contract_parse p = parse_contract(text);
  ASSERT_TRUE(p.ok()) << p.render("c.yaml", text, false);
  EXPECT_EQ(p.contract.rules[1].name, "at is not null");
  EXPECT_EQ(p.contract.fresh_within, 36h);
  std::string wrapped = "contract:\n";
  for (const std::string_view line : split(text, '\n'))
    wrapped += "  " + std::string{line} + "\n";
  EXPECT_EQ(to_json(parse_contract(wrapped).contract), to_json(p.contract));
  const std::string yaml = to_yaml(p.contract, "drafted by a test\nfrom nothing");
  EXPECT_TRUE(yaml.starts_with("# drafted by a test\n# from nothing\ncolumns:\n")) << yaml;
  const contract_parse again = parse_contract(yaml);
  ASSERT_TRUE(again.ok()) << again.render("c.yaml", yaml, false) << yaml;
  EXPECT_EQ(to_json(again.contract), to_json(p.contract)) << yaml;
}

TEST(contract, empty_or_wrong_ones_are_refused) {
  EXPECT_FALSE(parse_contract("").ok());
  EXPECT_FALSE(parse_contract("- a\n").ok());
  EXPECT_FALSE(parse_contract("columns: [{name: a}]\n").ok());
  EXPECT_FALSE(parse_contract("columns: [{name: a, type: number}]\nrules: ['b > 1']\n").ok());
}

// --- files ---

TEST(goal_file, that_is_not_there_names_its_neighbour) {
  const auto p = parse_goal_file(source / "examples/churn/gaol.yaml");
  ASSERT_FALSE(p);
  EXPECT_EQ(p.error().code, errc::not_found);
  EXPECT_EQ(p.error().hint, "did you mean 'goal.yaml'?");
}

TEST(goal_file, that_is_a_folder_or_a_pipe_is_refused_without_waiting) {
  const temporary_folder t;
  EXPECT_FALSE(parse_goal_file(t.path()));
  ASSERT_EQ(std::system(("mkfifo " + (t.path() / "p").string()).c_str()), 0);
  EXPECT_FALSE(parse_goal_file(t.path() / "p"));
}

TEST(goal_file, too_big_is_a_problem_of_the_goal) {
  const temporary_folder t;
  t.write("goal.yaml", std::string(3 << 20, '#'));
  const auto p = parse_goal_file(t.path() / "goal.yaml");
  ASSERT_TRUE(p);
  ASSERT_EQ(p->problems.size(), 1U);
  EXPECT_EQ(p->problems[0].rule, "limit");
}

TEST(goal_file, relative_data_is_found_beside_it_wherever_one_stands) {
  const temporary_folder t;
  t.write("d.csv", "a,b\n1,2\n");
  t.write("goal.yaml", "name: x\ndata: {source: ./sub/../d.csv}\ntarget: b\nmetric: rmse <= 1\n");
  const auto p = parse_goal_file(t.path() / "goal.yaml");
  ASSERT_TRUE(p);
  EXPECT_TRUE(p->ok()) << p->render("goal.yaml", "", false);
  EXPECT_EQ(p->spec.data.source, (t.path() / "d.csv").string());
}

TEST(goal_file, a_missing_data_file_lists_what_is_there) {
  const temporary_folder t;
  t.write("customers.csv", "");
  t.write("goal.yaml", "name: x\ndata: {source: clients.csv}\ntarget: b\nmetric: rmse <= 1\n");
  const auto p = parse_goal_file(t.path() / "goal.yaml");
  ASSERT_TRUE(p);
  ASSERT_FALSE(p->ok());
  EXPECT_EQ(p->problems[0].message, "there is no file '" + (t.path() / "clients.csv").string() + "'; in that folder are customers.csv");
}

// --- rules that a file in broken/ does not show ---

TEST(goal_rules, are_judged_after_overrides_and_each_once) {
  EXPECT_EQ(said(small, {"task=regression"}), (lines{"4:9 conflict: the metric accuracy is for classification, and task is regression -> rmse"}));
  EXPECT_EQ(said(small, {"metric=rmse >= 3"}), (lines{"<override 1>:1:13 conflict: for rmse less is better; write <= -> <="}));
  EXPECT_EQ(said(small, {"metric=r2 >= -0.5"}), lines{});
  EXPECT_EQ(said(small, {"metric=f1 >= -0.5"}), (lines{"<override 1>:1:14 range: the metric f1 is never below 0"}));
  EXPECT_EQ(said(small, {"metric=rmse <= 3.5"}), lines{});
  EXPECT_EQ(said(small, {"metric=accuracy"}),
            (lines{"<override 1>:1:1 missing: there is no threshold, so any model is good enough; write for example metric: accuracy >= 0.9"}));
  EXPECT_EQ(said(small, {"data.split={strategy: grouped, group: churn}"}), (lines{"<override 1>:1:39 conflict: rows cannot be grouped by the target"}));
  EXPECT_EQ(said(small, {"search.space.gbt.learning_rate={low: 0, high: 1, log: true}"}),
            (lines{"<override 1>:1:38 conflict: a logarithmic range starts above 0"}));
  EXPECT_EQ(said(small, {"policy.approvals=[{action: rollout, by: [ann, ann]}, {action: rollout, by: ['*']}]"}),
            (lines{"<override 1>:1:47 duplicate: the user 'ann' is listed twice",
                   "<override 1>:1:63 duplicate: there is a rule for 'rollout' already; list all users in one rule"}));
  EXPECT_EQ(said(small, {"resources.trial_time_max=1h"}),
            (lines{"<override 1>:1:26 conflict: one trial may take longer than the whole search (10m)"}));
}

TEST(goal_rules, another_vocabulary_brings_other_families) {
  const goal_vocabulary v{{{"forest", {"trees"}}}};
  EXPECT_TRUE(parse_goal(small + "search: {families: [forest], space: {forest: {trees: {low: 1, high: 9}}}}\n", broken, {}, v).ok());
  EXPECT_FALSE(parse_goal(small + "search: {families: [gbt]}\n", broken, {}, v).ok());
}

/// cluster/goal may not include models/, so the names are held together here.
TEST(goal_vocabulary_known, is_what_the_families_search) {
  const std::string text = contents(source / "models/families.cpp");
  std::map<std::string, std::vector<std::string>> searched;
  const std::string name_mark = "f.name = \"", space_mark = "f.space = {", parameter_mark = "{\"";
  for (auto at = text.find(name_mark); at != std::string::npos; at = text.find(name_mark, at + 1)) {
    const std::string name = text.substr(at + name_mark.size(), text.find('"', at + name_mark.size()) - at - name_mark.size());
    const auto begin = text.find(space_mark, at), end = text.find(';', begin);
    ASSERT_NE(end, std::string::npos);
    for (auto p = text.find(parameter_mark, begin + space_mark.size() - 1); p < end; p = text.find(parameter_mark, p + 1))
      searched[name].push_back(text.substr(p + 2, text.find('"', p + 2) - p - 2));
  }
  EXPECT_EQ(searched, goal_vocabulary::known().families);
}

// --- the look ---

TEST(goal_render, is_pinned) {
  const std::string text = "name: churn\n"
                           "data:\n"
                           "  source: data.csv\n"
                           "target: churn\n"
                           "metric: acuracy >= 0.9\n"
                           "serch:\n"
                           "  budget: {trials: 1e12}\n"
                           "slices:\n"
                           "  - {name: Größe, where: \"größe >= 4 and x = 3\"}\n";
  const goal_parse p = parse_goal(text, broken, {"search.budget.wall_time=600"});
  EXPECT_EQ(p.render("goal.yaml", text, false),
            "goal.yaml:5:9: error: 'acuracy' is not possible for 'metric.name'; one of accuracy, balanced_accuracy, f1, auc, log_loss, rmse, "
            "mae, r2; did you mean 'accuracy'? [choice]\n"
            "    5 | metric: acuracy >= 0.9\n"
            "      |         ^\n"
            "goal.yaml:6:1: error: unknown key 'serch'; did you mean 'search'? [unknown-key]\n"
            "    6 | serch:\n"
            "      | ^\n"
            "goal.yaml:9:44: error: '=' is not used here; write '==' [condition]\n"
            "    9 |   - {name: Größe, where: \"größe >= 4 and x = 3\"}\n"
            "      |                                            ^\n"
            "<override 1>:1:25: error: 'wall_time' needs a unit: ms, s, m, h or d; did you mean '600s'? [unit]\n"
            "    1 | search.budget.wall_time=600\n"
            "      |                         ^\n"
            "goal.yaml: 4 errors\n");
  EXPECT_EQ(parse_goal(small, broken).render("goal.yaml", small, true), "");
}

TEST(goal_render, long_lines_are_cut_around_the_caret_and_colour_is_asked_for) {
  const std::string text = "{\"name\": \"churn\", \"description\": \"" + std::string(500, 'x') + "\", \"nmae\": 1, \"target\": \"t\", \"data\": {\"source\": \"data.csv\"}, "
                           "\"metric\": \"f1 >= 0.5\"}";
  const goal_parse p = parse_goal(text, broken);
  const std::string plain = p.render("g.json", text, false);
  const auto rows = split(plain, '\n');
  ASSERT_GE(rows.size(), 3U);
  EXPECT_LT(rows[1].size(), 150U);
  EXPECT_EQ(rows[1].substr(rows[2].find('^'), 6), "\"nmae\"") << plain;
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  EXPECT_NE(p.render("g.json", text, true).find("\x1b[1;31merror:\x1b[0m"), std::string::npos);
}

} // namespace
} // namespace flywheel
