#include "cluster/base/clock_skew.hpp"

#include <gtest/gtest.h>

namespace flywheel {
namespace {

using namespace std::chrono_literals;

/// How far the wall clock has moved against the monotonic one since `wall` and `mono` were read.
nanoseconds drift_since(wall_time wall, mono_time mono) {
  const auto& clock = system_clock();
  return (clock.wall() - wall) - (clock.mono() - mono);
}

TEST(clock_skew, only_the_wall_clock_is_wrong_and_it_is_right_again_by_itself_or_when_told) {
  const auto& clock = system_clock();
  const auto wall = clock.wall();
  const auto mono = clock.mono();
  skew_wall_clock(-10min, 1h);
  EXPECT_NEAR(std::chrono::duration<double>(drift_since(wall, mono)).count(), -600, 5);
  skew_wall_clock(3s, 1h);
  EXPECT_LT(drift_since(wall, mono), 9s) << "the later one takes the place of the earlier";
  skew_wall_clock(nanoseconds{0}, 0s);
  EXPECT_NEAR(std::chrono::duration<double>(drift_since(wall, mono)).count(), 0, 5);
  skew_wall_clock(1h, 0s); // over before it begins
  EXPECT_NEAR(std::chrono::duration<double>(drift_since(wall, mono)).count(), 0, 5);
}

} // namespace
} // namespace flywheel
