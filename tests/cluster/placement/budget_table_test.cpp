#include "cluster/placement/budget_table.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using namespace std::chrono_literals;

TEST(budget_table, what_is_reserved_and_spent_is_never_more_than_the_budget) {
  budget_table table;
  ASSERT_TRUE(table.open("g", 10h));
  EXPECT_TRUE(table.reserve("g", 6h));
  const auto refused = table.reserve("g", 5h);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::budget_exhausted);
  EXPECT_EQ(table.find("g")->left(), 4h);
  table.settle("g", 6h, 2h);
  EXPECT_EQ(table.find("g")->spent, 2h);
  EXPECT_EQ(table.find("g")->left(), 8h);
  EXPECT_TRUE(table.reserve("g", 8h));
  table.settle("g", 8h, 9h);
  EXPECT_EQ(table.find("g")->spent, 10h) << "stopping late is not the account's debt";
  EXPECT_EQ(table.find("g")->left(), 0h);
}

TEST(budget_table, a_budget_may_grow_but_not_fall_below_what_is_bound) {
  budget_table table;
  ASSERT_TRUE(table.open("g", 10h));
  ASSERT_TRUE(table.reserve("g", 6h));
  EXPECT_EQ(table.open("g", 5h).error().code, errc::budget_exhausted);
  EXPECT_EQ(table.find("g")->budget, 10h);
  EXPECT_TRUE(table.open("g", 6h));
  EXPECT_EQ(table.find("g")->reserved, 6h);
  EXPECT_EQ(table.reserve("nobody", 1h).error().code, errc::not_found);
  EXPECT_EQ(table.open("h", -1h).error().code, errc::budget_exhausted);
}
