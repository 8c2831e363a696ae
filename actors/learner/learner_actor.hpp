#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

/// Spawn detached: reads and appends the journal.
learner_agent spawn_learner(caf::actor_system& system, const agent_context& context);

} // namespace flywheel
