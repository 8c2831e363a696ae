#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

/// Spawn detached; ingesting runs beside it. The evaluator must have published its public key before a step arrives.
data_steward_agent spawn_data_steward(caf::actor_system& system, const agent_context& context);

} // namespace flywheel
