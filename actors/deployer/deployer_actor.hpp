#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

/// Spawn detached. The only agent that publishes versions, moves aliases and serves; it asks the journal for a valid
/// approval itself before traffic moves, whoever tells it to (I7).
deployer_agent spawn_deployer(caf::actor_system& system, const agent_context& context);

} // namespace flywheel
