#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

/// Spawn detached: appends what it sees to the journal.
monitor_agent spawn_monitor(caf::actor_system& system, const agent_context& context);

} // namespace flywheel
