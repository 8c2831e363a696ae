// What is generated from the field table: explanations, the JSON Schema, the reference in docs/goal.md.
// FLYWHEEL_UPDATE=1 in the environment writes the two files anew.
#include "cluster/base/json.hpp"
#include "cluster/goal/goal_parser.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path source{FLYWHEEL_SOURCE_DIR};

std::string contents(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}
bool updating() { return std::getenv("FLYWHEEL_UPDATE") != nullptr; }

goal_spec example() {
  const auto p = parse_goal_file(source / "examples/churn/goal.yaml");
  EXPECT_TRUE(p && p->ok());
  return p->spec;
}

TEST(explain_goal, tells_a_leaf_in_full) {
  const auto e = explain_goal("goal.search.budget.trials");
  ASSERT_TRUE(e);
  EXPECT_EQ(*e, "goal.search.budget.trials\n"
                "  The most configurations tried.\n"
                "\n"
                "  type      a whole number from 1 to 100000\n"
                "  unit      trials\n"
                "  default   40\n"
                "  example   trials: 40\n");
}

TEST(explain_goal, lists_what_is_below) {
  for (const char* path : {"goal.search.budget", "search.budget", " goal.search.budget "}) {
    const auto e = explain_goal(path);
    ASSERT_TRUE(e) << path;
    EXPECT_NE(e->find("wall_time     The longest the search may take. (default 10m)"), std::string::npos) << *e;
  }
  EXPECT_NE(explain_goal("")->find("target       The column to predict. (required)"), std::string::npos);
  EXPECT_EQ(*explain_goal("goal"), *explain_goal(""));
}

TEST(explain_goal, knows_items_of_lists_and_hyper_parameters) {
  EXPECT_EQ(*explain_goal("goal.data.contract.columns[3].type"), *explain_goal("goal.data.contract.columns.type"));
  EXPECT_EQ(*explain_goal("goal.slices.*.where"), *explain_goal("goal.slices[].where"));
  EXPECT_NE(explain_goal("goal.search.space")->find("mlp: learning_rate"), std::string::npos);
  EXPECT_TRUE(explain_goal("goal.search.space.gbt"));
  EXPECT_TRUE(explain_goal("goal.search.space.gbt.max_depth"));
  EXPECT_NE(explain_goal("goal.search.space.gbt.max_depth.low")->find("The smallest value tried."), std::string::npos);
  EXPECT_FALSE(explain_goal("goal.search.space.gbt.nothing"));
}

TEST(explain_goal, unknown_paths_get_a_suggestion) {
  for (const auto& [path, near] : std::vector<std::pair<std::string, std::string>>{{"goal.serch.budget", "goal.search.budget"},
                                                                                  {"goal.search.budget.trails", "goal.search.budget.trials"},
                                                                                  {"goal.wall_time", "goal.search.budget.wall_time"},
                                                                                  {"budget.trails", "goal.search.budget.trials"},
                                                                                  {"goal.policy.rolout", "goal.policy.rollout"}}) {
    const auto e = explain_goal(path);
    ASSERT_FALSE(e) << path;
    EXPECT_EQ(e.error().code, errc::not_found);
    EXPECT_EQ(e.error().hint, "did you mean '" + near + "'?") << path;
  }
  EXPECT_FALSE(explain_goal("goal.name.more"));
  EXPECT_FALSE(explain_goal(std::string(100'000, 'x')));
}

// --- the schema, against the validator ---

/// The subset of JSON Schema that ours uses; an unknown keyword fails the test.
bool accepts(const json& schema, const json& value) {
  bool good = true;
  for (const auto& [key, rule] : schema.items()) {
    if (key == "type") {
      const auto is = [&](const std::string& t) {
        return t == "object" ? value.is_object() : t == "array" ? value.is_array() : t == "string" ? value.is_string()
             : t == "boolean" ? value.is_boolean() : t == "null" ? value.is_null()
             : t == "integer" ? value.is_number_integer() || (value.is_number() && value.get<double>() == std::floor(value.get<double>()))
             : t == "number" ? value.is_number() : false;
      };
      good = good && (rule.is_string() ? is(rule.get<std::string>())
                                       : std::any_of(rule.begin(), rule.end(), [&](const json& t) { return is(t.get<std::string>()); }));
    } else if (key == "enum") {
      good = good && std::find(rule.begin(), rule.end(), value) != rule.end();
    } else if (key == "anyOf") {
      good = good && std::any_of(rule.begin(), rule.end(), [&](const json& s) { return accepts(s, value); });
    } else if (key == "properties") {
      for (const auto& [name, inner] : rule.items())
        good = good && (!value.is_object() || !value.contains(name) || accepts(inner, value[name]));
    } else if (key == "additionalProperties") {
      EXPECT_EQ(rule, false);
      const json object = value.is_object() ? value : json::object();
      for (const auto& [name, inner] : object.items())
        good = good && schema.at("properties").contains(name);
    } else if (key == "required") {
      for (const auto& name : rule)
        good = good && (!value.is_object() || value.contains(name));
    } else if (key == "items") {
      for (const auto& item : value.is_array() ? value : json::array())
        good = good && accepts(rule, item);
    } else if (key == "pattern") {
      good = good && (!value.is_string() || std::regex_search(value.get<std::string>(), std::regex{rule.get<std::string>()}));
    } else if (key == "minimum") {
      good = good && (!value.is_number() || value.get<double>() >= rule.get<double>());
    } else if (key == "exclusiveMinimum") {
      good = good && (!value.is_number() || value.get<double>() > rule.get<double>());
    } else if (key == "maximum") {
      good = good && (!value.is_number() || value.get<double>() <= rule.get<double>());
    } else if (key == "minLength") {
      good = good && (!value.is_string() || value.get<std::string>().size() >= rule.get<std::size_t>());
    } else {
      EXPECT_TRUE(key == "description" || key == "default" || key == "title" || key == "$schema" || key == "format") << key;
    }
  }
  return good;
}

TEST(goal_json_schema, is_the_published_file) {
  const fs::path file = source / "docs/schema/goal.schema.json";
  const std::string text = goal_json_schema().dump(2) + "\n";
  if (updating())
    std::ofstream{file, std::ios::binary} << text;
  EXPECT_EQ(contents(file), text) << "run this test with FLYWHEEL_UPDATE=1";
}

TEST(goal_json_schema, accepts_what_the_validator_accepts) {
  const json schema = goal_json_schema();
  EXPECT_TRUE(accepts(schema, to_json(example())));
  const json small = {{"name", "a"}, {"target", "t"}, {"data", {{"source", "d.csv"}, {"contract", "c.yaml"}}}, {"metric", "f1 >= 0.5"}, {"slices", {"a > 1"}}};
  EXPECT_TRUE(accepts(schema, small));
}

TEST(goal_json_schema, every_default_fits_its_own_field) {
  const std::function<void(const json&)> walk = [&](const json& schema) {
    if (schema.is_object() && schema.contains("default")) {
      EXPECT_TRUE(accepts(schema, schema["default"])) << schema.dump();
    }
    if (schema.is_structured())
      for (const auto& inner : schema)
        walk(inner);
  };
  walk(goal_json_schema());
}

TEST(goal_json_schema, and_validator_refuse_the_same_single_faults) {
  const json schema = goal_json_schema(), good = to_json(example());
  using p = json::json_pointer;
  for (const auto& [at, value] : std::vector<std::pair<p, json>>{{p{"/name"}, "a b"}, {p{"/name"}, json()}, {p{"/extra"}, 1}, {p{"/data/source"}, ""},
                                                                 {p{"/data/format"}, "xml"}, {p{"/data/contract/columns/0/type"}, "int"},
                                                                 {p{"/data/contract/columns/0/nullable"}, "no"}, {p{"/data/split/holdout_rows"}, 0},
                                                                 {p{"/data/split/holdout"}, 1.5}, {p{"/metric/confidence"}, 2}, {p{"/metric/name"}, "speed"},
                                                                 {p{"/search/families/0"}, "svm"}, {p{"/search/budget/trials"}, 1e12}, {p{"/search/budget/trials"}, 2.5},
                                                                 {p{"/search/budget/wall_time"}, 600}, {p{"/search/budget/wall_time"}, "10 parsecs"},
                                                                 {p{"/search/space/gbt/depth"}, {{"low", 1}}}, {p{"/policy/approvals/0/action"}, "launch"},
                                                                 {p{"/policy/rollout/steps/0"}, "five"}, {p{"/policy/retrain/automatic"}, 1},
                                                                 {p{"/resources/worker_memory"}, "2 elephants"}, {p{"/serve/port"}, 70000}}) {
    json j = good;
    j[at] = value;
    EXPECT_FALSE(accepts(schema, j)) << at.to_string() << " schema";
    EXPECT_FALSE(goal_from_json(j)) << at.to_string() << " validator";
  }
}

TEST(goal_reference, is_in_the_documentation) {
  const fs::path file = source / "docs/goal.md";
  const std::string marker = "<!-- generated from cluster/goal/goal_schema.cpp; run test_cluster_goal with FLYWHEEL_UPDATE=1 -->\n";
  std::string text = contents(file);
  const auto at = text.find(marker);
  ASSERT_NE(at, std::string::npos) << "the marker is gone from docs/goal.md";
  const std::string wanted = text.substr(0, at + marker.size()) + goal_reference_markdown();
  if (updating())
    std::ofstream{file, std::ios::binary} << wanted;
  EXPECT_EQ(contents(file), wanted) << "run this test with FLYWHEEL_UPDATE=1";
}

} // namespace
} // namespace flywheel
