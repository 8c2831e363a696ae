#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

/// Spawn detached. Looks at each family cheaply (through hpo) and hands the better ones on.
architect_agent spawn_architect(caf::actor_system& system, const agent_context& context);

} // namespace flywheel
