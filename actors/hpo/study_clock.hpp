#pragma once
// The time that a study's budget is counted in: the date when the agent began, carried on by the clock that nobody sets. A wrong date, or one
// that is put right, uses up nothing.

#include "cluster/base/clock.hpp"

namespace flywheel {

/// Pure but for the clock it is given, which outlives it.
class study_clock {
public:
  explicit study_clock(const time_source& time) : time_(&time), born_(time.wall()), born_mono_(time.mono()) {}
  wall_time now() const { return born_ + (time_->mono() - born_mono_); }

private:
  const time_source* time_;
  wall_time born_;
  mono_time born_mono_;
};

} // namespace flywheel
