#include "cluster/base/json.hpp"
#include "models/task_json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

namespace {
/// Through text, as it travels.
json sent(const json& j) { return json::parse(j.dump()); }
} // namespace

TEST(task_json, tasks_trials_and_results_come_back) {
  const learning_task task{task_type::multiclass, "y", {"a", "b", "c"}, {"p", "q"}, metric_name::balanced_accuracy};
  const auto t = task_from_json(sent(to_json(task))).value();
  EXPECT_EQ(to_json(t), to_json(task));
  EXPECT_EQ(t.metric, metric_name::balanced_accuracy);
  EXPECT_EQ(t.classes, task.classes);

  trial_spec spec{"t-7", "gbt", {{"depth", std::int64_t{3}}, {"rate", 0.1}, {"kind", std::string{"x"}}}, 4, 90, {10, 30, 90}, ~0ull, 2};
  const auto s = trial_spec_from_json(sent(to_json(spec))).value();
  EXPECT_EQ(s.params, spec.params);
  EXPECT_EQ(s.rungs, spec.rungs);
  EXPECT_EQ(s.seed, spec.seed) << "all 64 bits";
  EXPECT_EQ(to_json(s), to_json(spec));

  trial_result result;
  result.how = trial_result::end::pruned;
  result.last = {2, 30, 0.1 + 0.2, 1e-17};
  result.best_resource = 28;
  result.best_value = 1.0 / 3;
  result.fold_values = {0.1, 0.7 / 3};
  const auto r = trial_result_from_json(sent(to_json(result))).value();
  EXPECT_EQ(r.how, trial_result::end::pruned);
  EXPECT_EQ(r.last.value, result.last.value) << "to the bit";
  EXPECT_EQ(r.last.standard_error, result.last.standard_error);
  EXPECT_EQ(r.best_value, result.best_value);
  EXPECT_EQ(r.fold_values, result.fold_values);
}

TEST(task_json, what_is_missing_or_mistyped_is_an_error) {
  const auto task = to_json(learning_task{task_type::binary, "y", {"n", "p"}, {"x"}, metric_name::auc});
  for (const auto& [key, value] : task.items()) {
    auto without = task, wrong = task;
    without.erase(key);
    wrong[key] = json::object();
    EXPECT_FALSE(task_from_json(without)) << key;
    EXPECT_FALSE(task_from_json(wrong)) << key;
  }
  const auto spec = to_json(trial_spec{});
  for (const auto& [key, value] : spec.items()) {
    auto without = spec;
    without.erase(key);
    EXPECT_FALSE(trial_spec_from_json(without)) << key;
  }
  EXPECT_FALSE(trial_result_from_json(json::array()));
}
