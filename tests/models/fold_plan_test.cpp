#include "models/fold_plan.hpp"

#include <gtest/gtest.h>
#include <set>

using namespace flywheel;

TEST(fold_plan, every_row_validates_once_and_classes_are_spread_evenly) {
  std::vector<double> target;
  for (int i = 0; i < 1003; ++i)
    target.push_back(i % 7 == 0);
  const auto plan = plan_folds(task_type::binary, target, 5, 42);
  ASSERT_EQ(plan.size(), 5u);
  std::multiset<std::uint32_t> validated;
  for (const auto& f : plan) {
    EXPECT_EQ(f.train.size() + f.validation.size(), target.size());
    validated.insert(f.validation.begin(), f.validation.end());
    std::size_t positives = 0;
    for (const auto row : f.validation)
      positives += target[row] == 1;
    EXPECT_TRUE(positives == 28 || positives == 29) << positives << " of 144 positives in 5 folds";
    std::vector<std::uint32_t> both;
    std::set_intersection(f.train.begin(), f.train.end(), f.validation.begin(), f.validation.end(), std::back_inserter(both));
    EXPECT_TRUE(both.empty());
  }
  EXPECT_EQ(validated.size(), target.size());
  EXPECT_EQ(std::set<std::uint32_t>(validated.begin(), validated.end()).size(), target.size());
}

TEST(fold_plan, depends_on_the_seed_alone) {
  std::vector<double> target(200);
  for (std::size_t i = 0; i < target.size(); ++i)
    target[i] = static_cast<double>(i % 3);
  const auto a = plan_folds(task_type::multiclass, target, 4, 1), b = plan_folds(task_type::multiclass, target, 4, 1),
             c = plan_folds(task_type::multiclass, target, 4, 2);
  EXPECT_EQ(a[0].validation, b[0].validation);
  EXPECT_NE(a[0].validation, c[0].validation);
}

TEST(fold_plan, regression_folds_have_like_targets) {
  std::vector<double> target(1000);
  for (std::size_t i = 0; i < target.size(); ++i)
    target[i] = static_cast<double>((i * 7919) % 1000);
  double total_bias = 0;
  for (const auto& f : plan_folds(task_type::regression, target, 5, 3)) {
    double sum = 0;
    for (const auto row : f.validation)
      sum += target[row];
    EXPECT_NEAR(sum / 200.0, 499.5, 1.0);
    total_bias += std::abs(sum / 200.0 - 499.5);
  }
  EXPECT_GT(total_bias, 0) << "shuffled, not dealt out in a fixed order";
}
