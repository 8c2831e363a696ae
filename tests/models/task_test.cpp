#include "models/task.hpp"

#include <cmath>
#include <gtest/gtest.h>

using namespace flywheel;

namespace {

// Expected values: scikit-learn 1.x on the same numbers (accuracy_score, balanced_accuracy_score, f1_score,
// roc_auc_score, log_loss, mean_squared_error, mean_absolute_error, r2_score).
const std::vector<double> binary_truth{0, 1, 1, 0, 1, 0, 1, 1};
std::vector<float> binary_outputs() {
  std::vector<float> out;
  for (const float p : {.1f, .9f, .4f, .4f, .4f, .6f, .8f, .3f}) {
    out.push_back(1 - p);
    out.push_back(p);
  }
  return out;
}
const std::vector<double> three_truth{0, 1, 2, 2, 1, 0, 2};
const std::vector<float> three_outputs{.5f,  .25f, .25f,  .25f,  .5f,   .25f,  .125f, .25f, .625f, .5f, .25f,
                                       .25f, .25f, .625f, .125f, .375f, .5f, .125f, .25f,  .25f, .5f};

double binary(metric_name m) { return score(m, task_type::binary, 2, binary_truth, binary_outputs()); }
double three(metric_name m) { return score(m, task_type::multiclass, 3, three_truth, three_outputs); }

} // namespace

TEST(metrics, of_a_binary_task_match_scikit_learn) {
  EXPECT_DOUBLE_EQ(binary(metric_name::accuracy), 0.5);
  EXPECT_DOUBLE_EQ(binary(metric_name::balanced_accuracy), 0.5333333333333333);
  EXPECT_DOUBLE_EQ(binary(metric_name::f1), 0.5);
  EXPECT_DOUBLE_EQ(binary(metric_name::auc), 0.6666666666666667);
  EXPECT_NEAR(binary(metric_name::log_loss), 0.6121918900310824, 1e-7);
}

TEST(metrics, of_three_classes_match_scikit_learn) {
  EXPECT_DOUBLE_EQ(three(metric_name::accuracy), 0.7142857142857143);
  EXPECT_DOUBLE_EQ(three(metric_name::balanced_accuracy), 0.7222222222222222);
  EXPECT_DOUBLE_EQ(three(metric_name::f1), 0.7000000000000001);
  EXPECT_DOUBLE_EQ(three(metric_name::auc), 0.9055555555555556);
  EXPECT_NEAR(three(metric_name::log_loss), 0.7695103449004177, 1e-7);
}

TEST(metrics, of_a_regression_match_scikit_learn) {
  const std::vector<double> truth{3, -0.5, 2, 7, 4.25};
  const std::vector<float> predicted{2.5f, 0, 2, 8, 4};
  const auto of = [&](metric_name m) { return score(m, task_type::regression, 0, truth, predicted); };
  EXPECT_DOUBLE_EQ(of(metric_name::rmse), 0.5590169943749475);
  EXPECT_NEAR(of(metric_name::mae), 0.45, 1e-12);
  EXPECT_NEAR(of(metric_name::r2), 0.9491042494773865, 1e-7);
}

TEST(metrics, by_hand_where_conventions_decide) {
  // One class only: AUC says nothing, so it is that of a coin.
  EXPECT_EQ(score(metric_name::auc, task_type::binary, 2, {0, 0}, {.9f, .1f, .2f, .8f}), 0.5);
  // All equal: every pair is a tie, each worth a half.
  EXPECT_EQ(score(metric_name::auc, task_type::binary, 2, {0, 1, 1}, {.5f, .5f, .5f, .5f, .5f, .5f}), 0.5);
  // A certain and wrong answer costs -log(1e-15), not infinity.
  EXPECT_NEAR(score(metric_name::log_loss, task_type::binary, 2, {1}, {1, 0}), 34.538776, 1e-5);
  // Two classes equally probable: the first counts as chosen.
  EXPECT_EQ(score(metric_name::accuracy, task_type::binary, 2, {0, 1}, {.5f, .5f, .5f, .5f}), 0.5);
  // No positive anywhere, none predicted: F1 is 0, not NaN.
  EXPECT_EQ(score(metric_name::f1, task_type::binary, 2, {0, 0}, {1, 0, 1, 0}), 0);
  // A constant target: r2 is 1 if hit exactly, else 0.
  EXPECT_EQ(score(metric_name::r2, task_type::regression, 0, {2, 2}, {2, 2}), 1);
  EXPECT_EQ(score(metric_name::r2, task_type::regression, 0, {2, 2}, {2, 3}), 0);
  EXPECT_TRUE(std::isnan(score(metric_name::accuracy, task_type::binary, 2, {0}, {NAN, NAN})));
}

TEST(metrics, names_lead_back_and_directions_are_right) {
  for (int i = 0; i <= static_cast<int>(metric_name::r2); ++i) {
    const auto m = static_cast<metric_name>(i);
    EXPECT_EQ(metric_from_name(name_of(m)), m);
    EXPECT_NE(fits(m, task_type::binary), fits(m, task_type::regression));
  }
  for (const auto t : {task_type::binary, task_type::multiclass, task_type::regression})
    EXPECT_EQ(task_type_from_name(name_of(t)), t);
  EXPECT_FALSE(metric_from_name("precision"));
  EXPECT_TRUE(higher_is_better(metric_name::r2) && higher_is_better(metric_name::auc));
  EXPECT_FALSE(higher_is_better(metric_name::log_loss) || higher_is_better(metric_name::rmse));
}
