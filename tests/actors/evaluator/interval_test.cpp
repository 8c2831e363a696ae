#include "tests/actors/evaluator/judged_samples.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace flywheel {
namespace {
using namespace testing;

TEST(wilson_interval, agrees_with_scipy) { // scipy.stats.binomtest(k, n).proportion_ci(c, method="wilson"), 1.17.1
  const struct { std::uint64_t k, n; double confidence, low, high; } cases[] = {
      {1607, 1667, 0.95, 0.9539453240051351, 0.9719354600950493},
      {0, 10, 0.95, 0.0, 0.27753279986288926},
      {7, 10, 0.99, 0.32002467920110256, 0.9204336834769342},
      {95, 100, 0.90, 0.9008389147209472, 0.9754526365741958},
  };
  for (const auto& c : cases) {
    const auto i = wilson_interval(c.k, c.n, c.confidence);
    EXPECT_NEAR(i.low, c.low, 1e-12) << c.k << "/" << c.n;
    EXPECT_NEAR(i.high, c.high, 1e-12) << c.k << "/" << c.n;
  }
  EXPECT_EQ(wilson_interval(10, 10, 0.95).high, 1);
  EXPECT_EQ(wilson_interval(0, 0, 0.95), (interval{0, 1}));
}

TEST(wilson_interval, covers_the_truth_about_as_often_as_it_says) {
  auto random = random_source{17};
  int covered = 0;
  for (int study = 0; study < 2000; ++study) {
    std::uint64_t k = 0;
    for (int i = 0; i < 120; ++i)
      k += random.uniform() < 0.9;
    covered += wilson_interval(k, 120, 0.95).contains(0.9);
  }
  EXPECT_GT(covered, 1860);
  EXPECT_LT(covered, 1940);
}

TEST(estimate, accuracy_is_counted_and_bounded_by_wilson) {
  const auto e = estimate(metric_name::accuracy, binary_rows(1667, 1607), {});
  EXPECT_NEAR(e.value, 1607.0 / 1667, 1e-12);
  EXPECT_NEAR(e.range.low, 0.9539453240051351, 1e-12);
  EXPECT_EQ(e.method, "wilson");
  EXPECT_EQ(e.rows, 1667u);
}

TEST(estimate, the_bootstrap_agrees_with_scipy) { // scipy.stats.bootstrap, BCa, 200,000 resamples
  interval_options o;
  o.resamples = 4000;
  const auto mae = estimate(metric_name::mae, regression_rows(), o);
  EXPECT_NEAR(mae.value, 1.8980054768908805, 1e-5);
  EXPECT_NEAR(mae.range.low, 1.6180374, 0.02);
  EXPECT_NEAR(mae.range.high, 2.2084069, 0.02);
  EXPECT_EQ(mae.method, "bootstrap bca");
  EXPECT_EQ(mae.resamples, 4000u);
  const auto rmse = estimate(metric_name::rmse, regression_rows(), o);
  EXPECT_NEAR(rmse.range.low, 2.0403961, 0.02);
  EXPECT_NEAR(rmse.range.high, 2.6429926, 0.02);
}

TEST(estimate, the_bootstrap_of_f1_covers_the_truth) {
  // Class 1 with probability p at random: the true F1 at threshold 1/2 is estimated from a million rows.
  const auto large = calibrated_rows(300'000, 1);
  const double truth = score(metric_name::f1, large.type, 2, large.truth, large.predicted);
  int covered = 0;
  interval_options o;
  o.resamples = 200;
  for (std::uint64_t s = 0; s < 150; ++s)
    covered += estimate(metric_name::f1, calibrated_rows(150, 100 + s), o).range.contains(truth);
  EXPECT_GE(covered, 132); // 95 % of 150 is 142; 132 is nearly four standard errors below
}

TEST(estimate, the_same_seed_gives_the_same_interval) { // I13
  const auto r = calibrated_rows(300, 3);
  interval_options o;
  o.resamples = 200;
  const auto a = estimate(metric_name::auc, r, o), b = estimate(metric_name::auc, r, o);
  EXPECT_EQ(a.range, b.range);
  EXPECT_LE(a.range.low, a.value);
  EXPECT_GE(a.range.high, a.value);
  o.seed = 2;
  EXPECT_NE(estimate(metric_name::auc, r, o).range, a.range);
}

TEST(estimate, draws_fewer_resamples_from_many_rows) {
  interval_options o;
  o.work_max = 100'000;
  EXPECT_EQ(estimate(metric_name::f1, calibrated_rows(400, 3), o).resamples, 250u);
  EXPECT_EQ(estimate(metric_name::f1, calibrated_rows(4000, 3), o).resamples, 200u);
}

TEST(estimate, has_no_interval_where_none_can_be) {
  EXPECT_TRUE(std::isnan(estimate(metric_name::accuracy, judged_rows{task_type::binary, 2, {}, {}}, {}).value));
  const auto one = estimate(metric_name::f1, binary_rows(1, 1), {});
  EXPECT_EQ(one.method, "none");
  EXPECT_TRUE(std::isnan(one.range.low));
  const auto perfect = estimate(metric_name::f1, binary_rows(40, 40), {});
  EXPECT_EQ(perfect.value, 1);
  EXPECT_EQ(perfect.range, (interval{1, 1}));
}

TEST(confidence_of_reaching, is_half_at_the_value_itself_and_knows_which_way_is_up) {
  const auto acc = estimate(metric_name::accuracy, binary_rows(1667, 1607), {});
  EXPECT_NEAR(confidence_of_reaching(acc, acc.value), 0.5, 1e-9);
  // z = (0.964007 - 0.95) / sqrt(0.95 * 0.05 / 1667) = 2.624
  EXPECT_NEAR(confidence_of_reaching(acc, 0.95), 0.99566, 1e-4);
  EXPECT_LT(confidence_of_reaching(acc, 0.99), 1e-6);
  const auto mae = estimate(metric_name::mae, regression_rows(), {});
  EXPECT_GT(confidence_of_reaching(mae, 2.5), 0.99) << "an error below the limit";
  EXPECT_LT(confidence_of_reaching(mae, 1.3), 0.01);
}

TEST(check_judged_rows, names_the_row) {
  const auto good = binary_rows(4, 2);
  EXPECT_TRUE(check(good).ok());
  const struct { const char* says; void (*spoil)(judged_rows&); } cases[] = {
      {"7 predicted values for 4 rows", [](judged_rows& r) { r.predicted.pop_back(); }},
      {"row 2: the true value 2 is no class", [](judged_rows& r) { r.truth[2] = 2; }},
      {"row 1: the true value -1", [](judged_rows& r) { r.truth[1] = -1; }},
      {"row 0: the true value 0.5", [](judged_rows& r) { r.truth[0] = 0.5; }},
      {"row 3: a predicted value is not finite", [](judged_rows& r) { r.predicted[6] = std::nanf(""); }},
      {"needs two classes", [](judged_rows& r) { r.classes = 1; }},
  };
  for (const auto& c : cases) {
    auto r = good;
    c.spoil(r);
    const auto s = check(r);
    ASSERT_FALSE(s.ok()) << c.says;
    EXPECT_NE(s.error().what.find(c.says), std::string::npos) << s.error().what;
  }
}

} // namespace
} // namespace flywheel
