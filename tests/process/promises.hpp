#pragma once
// What must hold of a state directory whatever happened to the processes.

#include "tests/process/flywheel_program.hpp"

namespace flywheel::testing {

/// What `flywheel chaos` judges from the state directory (cluster/chaos/promise_judge): no promise is broken, every goal has ended.
void expect_promises_kept(const workshop& w);
/// One goal was submitted and is done: the journal is whole (tamper-evident), nothing was done twice (I3), every trial ended once (I15),
/// one model version was published.
void expect_one_goal_done_once(const workshop& w);

} // namespace flywheel::testing
