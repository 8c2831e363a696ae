#include "cluster/base/steady_date.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using std::chrono::minutes;

TEST(steady_date, goes_on_evenly_whatever_is_done_to_the_date) {
  manual_clock machine;
  const auto begin = machine.wall();
  const steady_date clock{machine};
  EXPECT_EQ(clock.now(), begin) << "a date, as those in the journal";
  machine.advance(minutes{1});
  EXPECT_EQ(clock.now(), begin + minutes{1});
  for (const auto wrong : {minutes{-600}, minutes{600}}) {
    machine.set_wall(machine.wall() + wrong);
    EXPECT_EQ(clock.now(), begin + minutes{1});
  }
  machine.advance(minutes{2});
  EXPECT_EQ(clock.now(), begin + minutes{3});
}
