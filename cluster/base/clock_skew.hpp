#pragma once
// A wrong wall clock, for rehearsals (`flywheel chaos`, TimeChaos): what the program reads from now on through its one door.

#include "cluster/base/clock.hpp"

namespace flywheel {

/// From now on, and for `lasting`, system_clock().wall() of this process is off by `by`; then it is right again by itself, whoever asked
/// for it lives or not. The monotonic clock, other processes and libraries that read the clock themselves (TLS) see nothing of it.
/// A later call takes the place of an earlier one; `by` 0 ends it. Any thread.
void skew_wall_clock(nanoseconds by, nanoseconds lasting) noexcept;

} // namespace flywheel
