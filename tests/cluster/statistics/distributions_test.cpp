#include "cluster/statistics/distributions.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace flywheel {
namespace {

// Expected values: SciPy 1.17.1 (scipy.stats norm, t, binom, binomtest).
TEST(distributions, agree_with_scipy) {
  EXPECT_NEAR(normal_cdf(1.96), 0.9750021048517795, 1e-14);
  EXPECT_NEAR(normal_cdf(-8), 6.22096057427174e-16, 1e-28);
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-13);
  EXPECT_NEAR(normal_quantile(1e-10), -6.361340902404056, 1e-12);
  EXPECT_NEAR(student_t_cdf(2.0, 4), 0.9419417382415922, 1e-14);
  EXPECT_NEAR(student_t_quantile(0.975, 4), 2.7764451051977934, 1e-11);
  EXPECT_NEAR(student_t_quantile(0.95, 9), 1.833112932656237, 1e-11);
  EXPECT_NEAR(binomial_cdf(5, 20, 0.5), 0.020694732666015625, 1e-15);
  EXPECT_NEAR(coin_test(10, 34), 0.024306510109454393, 1e-14);
  EXPECT_NEAR(coin_test(0, 10), 0.001953125, 1e-16);
}

TEST(distributions, hold_at_their_ends) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(normal_cdf(inf), 1);
  EXPECT_EQ(normal_cdf(-inf), 0);
  EXPECT_EQ(student_t_cdf(inf, 3), 1);
  EXPECT_EQ(student_t_cdf(-inf, 3), 0);
  EXPECT_EQ(binomial_cdf(7, 7, 0.3), 1);
  EXPECT_EQ(binomial_cdf(0, 0, 0.3), 1);
  EXPECT_EQ(coin_test(0, 0), 1);
  EXPECT_EQ(coin_test(5, 10), 1) << "twice the middle is more than 1 and must be cut";
}

TEST(distributions_death, a_level_outside_0_to_1_is_a_bug) {
  EXPECT_DEATH(normal_quantile(0), "");
  EXPECT_DEATH(student_t_quantile(1, 3), "");
  EXPECT_DEATH(coin_test(3, 2), "");
}

} // namespace
} // namespace flywheel
