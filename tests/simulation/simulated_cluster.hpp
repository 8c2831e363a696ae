#pragma once
// A head, its nodes, clients and a sink in a hostile world, all from one seed: the pure machines that a real cluster runs on
// (dispatch_table, member_table, lease_table, lease_watch) behind a network that delays, drops and cuts, on processes that are killed and
// frozen. What the actors around those machines do is done here in the same order (dispatcher_actor, task_host_actor, conductor).
//
// Every goal has one trial. A client submits under its own id until it is acknowledged. The head writes first, then acknowledges, orders
// the trial, counts its end, and has the sink publish under the goal's key.

#include "actors/dispatcher/dispatch_table.hpp"
#include "cluster/base/random.hpp"
#include "cluster/membership/lease_watch.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace flywheel::simulation {

/// Deliberate defects, to show that the checks find them.
enum class defect {
  none,
  acknowledge_before_write,   ///< the client is told before the journal has the goal
  skip_fence,                 ///< the sink takes what an older head wants
  forget_effect_key,          ///< the sink does not look whether it has done it already
  skip_recovery_grace,        ///< a new head places work before it knows what the old one's nodes do
  lease_too_long,             ///< a node believes in its lease longer than the head waits
  keep_old_heads_work,        ///< a node goes on with what the last life of the head gave it
  count_ends_twice,           ///< an end counts also under a lease that no longer holds
  forget_unreported_ends,     ///< an end whose telling failed is not told again
  hide_running_work,          ///< a node that comes back does not tell what it runs
  effect_before_intent,       ///< the sink is asked before the intent is written
};

struct rules {
  int nodes = 3;
  nanoseconds step = std::chrono::milliseconds{10};
  int steps_with_faults = 800, steps = 1700;
  defect seeded = defect::none;
};

/// What went wrong, with the time and the seed; empty: nothing.
using findings = std::vector<std::string>;

/// Runs one history and checks after every step: no trial runs in two places (I6), accepted goals are in the journal (I1), each trial ends
/// once (I15), the sink did each effect at most once (I3), after its intent (I4), for no older head (I5), slots add up (I11); and at the end,
/// when the faults have stopped for a while: all goals are done (I12), nothing is held.
findings run_history(std::uint64_t seed, const rules& r);

/// A digest of everything that happened, step by step: the same seed gives the same (I13).
std::uint64_t fingerprint(std::uint64_t seed, const rules& r);

} // namespace flywheel::simulation
