#include "deploy/server/traffic_split.hpp"

#include <gtest/gtest.h>

#include <string>

using namespace flywheel;

TEST(traffic_split, nobody_at_zero_and_everybody_at_a_hundred) {
  for (int i = 0; i < 1000; ++i) {
    EXPECT_FALSE(goes_to_challenger(std::to_string(i), "churn/v2", 0));
    EXPECT_TRUE(goes_to_challenger(std::to_string(i), "churn/v2", 100));
  }
}

TEST(traffic_split, the_share_is_the_percentage) {
  for (const double percent : {1.0, 5.0, 25.0, 60.0}) {
    int taken = 0;
    constexpr int n = 100'000;
    for (int i = 0; i < n; ++i)
      taken += goes_to_challenger("customer-" + std::to_string(i), "churn/v2", percent) ? 1 : 0;
    EXPECT_NEAR(100.0 * taken / n, percent, 0.5) << percent;
  }
}

TEST(traffic_split, raising_the_percentage_keeps_who_was_there) {
  for (int i = 0; i < 10'000; ++i) {
    const auto key = std::to_string(i);
    if (goes_to_challenger(key, "churn/v2", 5)) {
      EXPECT_TRUE(goes_to_challenger(key, "churn/v2", 25));
    }
  }
}

TEST(traffic_split, another_challenger_begins_with_other_customers) {
  int both = 0, first = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto key = std::to_string(i);
    const bool a = goes_to_challenger(key, "churn/v2", 10);
    first += a ? 1 : 0;
    both += a && goes_to_challenger(key, "churn/v3", 10) ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(both) / first, 0.1, 0.03);
}

TEST(traffic_split, the_point_of_a_key_is_pinned) { // a change would move customers between models in mid-rollout
  EXPECT_NEAR(split_point("customer-1", "churn/v2"), 62.7837531776, 1e-9);
}
