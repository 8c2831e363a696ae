#pragma once
// Time comes in through this one door. Decisions are told the time; only system_clock reads it.

#include <chrono>
#include <cstdint>
#include <string>

namespace flywheel {

using std::chrono::nanoseconds;
/// Wall time, nanoseconds since 1970-01-01 UTC. For records and people, never for measuring a duration.
struct wall_time {
  std::int64_t ns = 0;
  auto operator<=>(const wall_time&) const = default;
};
/// Monotonic time, nanoseconds since an arbitrary start. For time-outs and durations.
struct mono_time {
  std::int64_t ns = 0;
  auto operator<=>(const mono_time&) const = default;
};
inline nanoseconds operator-(mono_time a, mono_time b) { return nanoseconds{a.ns - b.ns}; }
inline mono_time operator+(mono_time a, nanoseconds d) { return {a.ns + d.count()}; }
inline nanoseconds operator-(wall_time a, wall_time b) { return nanoseconds{a.ns - b.ns}; }
inline wall_time operator+(wall_time a, nanoseconds d) { return {a.ns + d.count()}; }

/// Thread-safe.
class time_source {
public:
  virtual ~time_source() = default;
  virtual wall_time wall() const = 0;
  virtual mono_time mono() const = 0;
};

/// The machine's clocks (CLOCK_REALTIME, CLOCK_MONOTONIC). One instance serves the whole process.
const time_source& system_clock();

/// A clock that moves only when told to; for tests and the simulation. Not thread-safe.
class manual_clock final : public time_source {
public:
  wall_time wall() const override { return wall_; }
  mono_time mono() const override { return mono_; }
  void advance(nanoseconds d) { wall_ = wall_ + d; mono_ = mono_ + d; }
  void set_wall(wall_time t) { wall_ = t; }

private:
  wall_time wall_{1'700'000'000'000'000'000};
  mono_time mono_{0};
};

/// "2026-11-21T07:30:11.123Z"
std::string to_iso8601(wall_time t);

} // namespace flywheel
