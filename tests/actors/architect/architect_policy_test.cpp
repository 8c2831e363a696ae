#include "actors/architect/architect_policy.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace flywheel {
namespace {

family_info trees() {
  family_info f;
  f.name = "gbt";
  f.title = "trees";
  f.space = {{"depth", {param_range::kind::integer, 2, 8, false, {}}}};
  f.defaults = {{"depth", std::int64_t{5}}};
  f.resource = "rounds";
  f.resource_max = 300;
  f.good_for = "tables";
  return f;
}
family_info network() {
  auto f = trees();
  f.name = "mlp";
  f.title = "network";
  f.resource = "epochs";
  f.resource_max = 40;
  return f;
}
const family_info gbt = trees(), mlp = network();

data_facts churn_facts() {
  data_facts f;
  f.rows = 3333;
  f.numeric = 15;
  f.categorical = 4;
  f.classes = 2;
  f.rarest_class_share = 0.145;
  return f;
}

// --- the plan -----------------------------------------------------------------------------------------------------------

TEST(plan_exploration, looks_at_every_fit_family_cheapest_first_within_its_share) {
  const auto p = plan_exploration({&mlp, &gbt}, churn_facts(), {40, 200, 400, 2});
  ASSERT_EQ(p.looks.size(), 2u);
  EXPECT_EQ(p.looks[0].family, "gbt");
  EXPECT_EQ(p.looks[1].family, "mlp");
  EXPECT_TRUE(p.skipped.empty());
  std::uint64_t trials = 0;
  double slot = 0, wall = 0;
  for (const auto& l : p.looks) {
    ASSERT_FALSE(l.planned.empty());
    EXPECT_EQ(l.planned[0].first, gbt.defaults);
    EXPECT_FALSE(l.reason.empty());
    EXPECT_GE(l.trials, l.planned.size());
    trials += l.trials;
    slot += l.slot_seconds;
    wall += l.wall_seconds;
  }
  EXPECT_EQ(p.looks[0].resource_max, 150u);
  EXPECT_EQ(p.looks[1].resource_max, 20u);
  EXPECT_LE(trials, 10u);
  EXPECT_LE(slot, 100.0 + 1e-9);
  EXPECT_LE(wall, 50.0 + 1e-9);
  EXPECT_NE(p.reason.find("3333 rows"), std::string::npos) << p.reason;
}

TEST(plan_exploration, a_table_of_situations) {
  const struct {
    const char* situation;
    std::vector<const family_info*> allowed;
    void (*facts)(data_facts&);
    std::uint64_t trials;
    std::vector<std::string> looks;
    const char* says; ///< in the reason or in why something was skipped
  } cases[] = {
      {"few rows", {&gbt, &mlp}, [](data_facts& f) { f.rows = 120; }, 40, {"gbt"}, "120 rows are too few for a network"},
      {"few rows, but nothing else is allowed", {&mlp}, [](data_facts& f) { f.rows = 120; }, 40, {"mlp"}, "only mlp"},
      {"a rare class", {&gbt, &mlp}, [](data_facts& f) { f.rarest_class_share = 0.001; }, 40, {"gbt"}, "the rarest class"},
      {"one trial in all", {&gbt, &mlp}, [](data_facts&) {}, 1, {"gbt"}, "the budget of 1 trials leaves none"},
      {"no trial at all", {&gbt}, [](data_facts&) {}, 0, {}, "leaves none"},
      {"no column", {&gbt, &mlp}, [](data_facts& f) { f.numeric = f.categorical = 0; }, 40, {}, "nothing to learn from"},
      {"no row", {&gbt}, [](data_facts& f) { f.rows = 0; }, 40, {}, "nothing to learn from"},
      {"nothing allowed", {}, [](data_facts&) {}, 40, {}, ""},
      {"a regression has no classes", {&gbt, &mlp}, [](data_facts& f) { f.classes = 0; f.rarest_class_share = 0; }, 40,
       {"gbt", "mlp"}, ""},
  };
  for (const auto& c : cases) {
    auto facts = churn_facts();
    c.facts(facts);
    const auto p = plan_exploration(c.allowed, facts, {c.trials, 100, 100, 2});
    std::vector<std::string> looks;
    std::uint64_t trials = 0;
    std::string said = p.reason;
    for (const auto& l : p.looks) {
      looks.push_back(l.family);
      trials += l.trials;
    }
    for (const auto& s : p.skipped)
      said += " | " + s.family + ": " + s.why;
    EXPECT_EQ(looks, c.looks) << c.situation;
    EXPECT_LE(trials, c.trials) << c.situation;
    EXPECT_EQ(p.looks.size() + p.skipped.size(), c.allowed.size()) << c.situation << ": every family is accounted for";
    EXPECT_NE(said.find(c.says), std::string::npos) << c.situation << ": " << said;
  }
}

TEST(facts_of, reads_a_table) {
  table t;
  t.row_ids = {1, 2, 3, 4};
  t.columns.push_back({"x", column_type::numeric, {1, std::nan(""), 3, 4}, {}, {}});
  t.columns.push_back({"c", column_type::categorical, {}, {0, 1, -1, 2}, {"a", "b", "d"}});
  t.columns.push_back({"y", column_type::categorical, {}, {0, 0, 0, 1}, {"no", "yes"}});
  learning_task task;
  task.target = "y";
  task.classes = {"no", "yes"};
  task.inputs = {"x", "c", "absent"};
  const auto f = facts_of(t, task);
  EXPECT_EQ(f.rows, 4u);
  EXPECT_EQ(f.numeric, 1u);
  EXPECT_EQ(f.categorical, 1u);
  EXPECT_DOUBLE_EQ(f.missing_share, 0.25);
  EXPECT_EQ(f.categories_most, 3u);
  EXPECT_DOUBLE_EQ(f.rarest_class_share, 0.25);
  EXPECT_NE(describe(f).find("4 rows"), std::string::npos);
}

// --- the choice ---------------------------------------------------------------------------------------------------------

family_evidence look(std::string family, std::vector<double> folds, double seconds = 10) {
  family_evidence e;
  e.family = family;
  e.trial = family + "-0001";
  e.fold_values = std::move(folds);
  for (const double v : e.fold_values)
    e.value += v / static_cast<double>(e.fold_values.size());
  e.standard_error = 0.003;
  e.seconds = seconds;
  e.trials = 3;
  return e;
}

TEST(compare_families, corrects_the_variance_for_shared_training_rows) {
  // By SciPy: mean 0.006, corrected error 0.00212132, t cdf at 4 degrees 0.97628967, interval 0.00011027 to 0.01188973.
  const auto d = compare_families(look("gbt", {.957, .955, .961, .95, .958}), look("mlp", {.949, .95, .952, .949, .951}),
                                  true, 0.95);
  EXPECT_NEAR(d.mean, 0.006, 1e-12);
  EXPECT_NEAR(d.confidence, 0.9762896722, 1e-9);
  EXPECT_NEAR(d.low, 0.0001102705, 1e-9);
  EXPECT_NEAR(d.high, 0.0118897295, 1e-9);
  EXPECT_NE(d.text.find("over the same 5 folds"), std::string::npos) << d.text;
  const auto errors = compare_families(look("gbt", {1, 2, 3}), look("mlp", {2, 3.5, 4}), false, 0.95);
  EXPECT_GT(errors.mean, 0) << "smaller is better";
  EXPECT_GT(errors.confidence, 0.95);
}

TEST(choose_families, drops_what_is_clearly_worse_with_the_numbers) {
  const auto c = choose_families({look("mlp", {.91, .915, .92, .91, .912}), look("gbt", {.957, .955, .961, .95, .958})}, true);
  ASSERT_EQ(c.kept.size(), 1u);
  EXPECT_EQ(c.kept[0].family, "gbt");
  EXPECT_EQ(c.kept[0].share, 1);
  ASSERT_EQ(c.dropped.size(), 1u);
  EXPECT_NE(c.dropped[0].why.find("0.9134 against 0.9562"), std::string::npos) << c.dropped[0].why;
  EXPECT_NE(c.reason.find("whole budget"), std::string::npos) << c.reason;
}

TEST(choose_families, shares_the_budget_between_two_that_cannot_be_told_apart) {
  const auto c = choose_families({look("gbt", {.95, .96, .94, .95, .955}), look("mlp", {.955, .945, .95, .945, .95})}, true);
  ASSERT_EQ(c.kept.size(), 2u);
  EXPECT_TRUE(c.dropped.empty());
  EXPECT_GE(c.kept[0].share, c.kept[1].share);
  EXPECT_DOUBLE_EQ(c.kept[0].share + c.kept[1].share, 1);
  EXPECT_GE(c.kept[1].share, 0.2);
  EXPECT_NE(c.kept[1].reason.find("cannot be told apart"), std::string::npos);
  EXPECT_NE(c.reason.find("shared"), std::string::npos);
}

TEST(choose_families, drops_a_slow_one_that_is_probably_worse) {
  const std::vector<double> leader{.950, .952, .950, .951, .952}, rival{.949, .948, .951, .950, .949};
  const auto d = compare_families(look("gbt", leader), look("mlp", rival), true, 0.95);
  ASSERT_GT(d.confidence, 0.75);
  ASSERT_LT(d.confidence, 0.95);
  EXPECT_EQ(choose_families({look("gbt", leader, 10), look("mlp", rival, 50)}, true).kept.size(), 2u);
  const auto c = choose_families({look("gbt", leader, 10), look("mlp", rival, 100)}, true);
  ASSERT_EQ(c.kept.size(), 1u);
  EXPECT_NE(c.dropped[0].why.find("100 s against 10 s"), std::string::npos) << c.dropped[0].why;
}

TEST(choose_families, keeps_two_at_most) {
  const auto c = choose_families({look("a", {.95, .96, .94}), look("b", {.955, .945, .948}), look("c", {.946, .96, .94})}, true);
  EXPECT_EQ(c.kept.size(), 2u);
  ASSERT_EQ(c.dropped.size(), 1u);
  EXPECT_NE(c.dropped[0].why.find("2 families at most"), std::string::npos);
  double sum = 0;
  for (const auto& k : c.kept)
    sum += k.share;
  EXPECT_DOUBLE_EQ(sum, 1);
}

TEST(choose_families, a_family_without_a_completed_trial_is_dropped_with_its_cause) {
  family_evidence broken;
  broken.family = "mlp";
  broken.trials = 2;
  broken.failure = "training diverged";
  const auto c = choose_families({broken, look("gbt", {.9, .91})}, true);
  ASSERT_EQ(c.kept.size(), 1u);
  EXPECT_EQ(c.dropped[0].why, "none of its 2 trials completed: training diverged");
  const auto none = choose_families({broken}, true);
  EXPECT_TRUE(none.kept.empty());
  EXPECT_FALSE(none.reason.empty());
  EXPECT_TRUE(choose_families({}, true).kept.empty());
}

TEST(choose_families, equal_families_and_families_without_folds_are_no_trouble) {
  const auto same = choose_families({look("a", {.9, .9, .9}), look("b", {.9, .9, .9})}, true);
  ASSERT_EQ(same.kept.size(), 2u);
  EXPECT_DOUBLE_EQ(same.kept[0].share, 0.5);
  auto a = look("a", {.95, .95, .95}), b = look("b", {.90, .91, .90});
  b.fold_values.pop_back();
  const auto apart = choose_families({a, b}, true);
  EXPECT_EQ(apart.kept.size(), 1u);
  EXPECT_NE(apart.dropped[0].why.find("not paired"), std::string::npos) << apart.dropped[0].why;
}

} // namespace
} // namespace flywheel
