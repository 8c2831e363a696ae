#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

/// Spawn detached. Runs studies: its own search step, and the looks that the architect orders. Its whole memory is the
/// journal; a new one goes on where the dead one stopped.
hpo_agent spawn_hpo(caf::actor_system& system, const agent_context& context);

} // namespace flywheel
