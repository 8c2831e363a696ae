#pragma once
// Some actors cannot be replaced while others count on what they know: if one of them dies of a fault, the process ends, and is started
// again by whoever runs it. What it knew comes back from the journal, and from its peers.

#include "actors/protocol/agents.hpp"

#include <string>
#include <utility>
#include <vector>

namespace flywheel {

/// Ends the process (exit code 70, with a sentence on standard error) when one of `whom` ends for another reason than an orderly stop.
caf::actor spawn_watchman(caf::actor_system& system, std::vector<std::pair<std::string, caf::actor>> whom);

} // namespace flywheel
