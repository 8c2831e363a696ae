#include "gpu/schedule.hpp"

#include <gtest/gtest.h>

using flywheel::gpu::cosine_schedule;

TEST(cosine_schedule, table_of_steps_and_rates) {
  const cosine_schedule s{1.0, 0.1, 4, 14};
  const struct { std::uint64_t step; double rate; } expected[] = {
      {0, 0.25}, {1, 0.5}, {3, 1.0}, {4, 1.0}, {9, 0.55}, {14, 0.1}, {1000, 0.1}};
  for (const auto& e : expected)
    EXPECT_NEAR(s.at(e.step), e.rate, 1e-12) << e.step;
}

TEST(cosine_schedule, warm_up_longer_than_the_run_divides_by_nothing) {
  const cosine_schedule s{1.0, 0.0, 10, 5};
  EXPECT_NEAR(s.at(4), 0.5, 1e-12);
  EXPECT_NEAR(s.at(20), 0.0, 1e-12);
  EXPECT_GE((cosine_schedule{1.0, 0.0, 0, 0}.at(0)), 0);
}

TEST(wsd_schedule, table_of_steps_and_rates) {
  const flywheel::gpu::wsd_schedule s{2.0, 0.25, 4, 10, 30};
  const struct { std::uint64_t step; double rate; } expected[] = {
      {0, 0.5}, {3, 2.0}, {4, 2.0}, {20, 2.0}, {25, 1.25}, {29, 0.65}, {30, 0.5}, {99, 0.5}};
  for (const auto& e : expected)
    EXPECT_NEAR(s.at(e.step), e.rate, 1e-12) << e.step;
  EXPECT_NEAR((flywheel::gpu::wsd_schedule{1.0, 0.0, 0, 0, 5}.at(4)), 1.0, 1e-12); // no decay divides by nothing
}
