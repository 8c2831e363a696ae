#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

/// Spawn detached: appends to the journal. On start it folds the journal and continues every unfinished goal.
conductor_agent spawn_conductor(caf::actor_system& system, const agent_context& context);

} // namespace flywheel
