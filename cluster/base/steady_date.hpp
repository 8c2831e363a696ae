#pragma once
// Durations that are counted in dates (a study's budget, the rest of an agent that failed): the date when the process began, carried on by the
// clock that nobody sets. A wrong date, or one that is put right, uses up nothing.

#include "cluster/base/clock.hpp"

namespace flywheel {

/// Pure but for the clock it is given, which outlives it.
class steady_date {
public:
  explicit steady_date(const time_source& time) : time_(&time), born_(time.wall()), born_mono_(time.mono()) {}
  wall_time now() const { return born_ + (time_->mono() - born_mono_); }

private:
  const time_source* time_;
  wall_time born_;
  mono_time born_mono_;
};

} // namespace flywheel
