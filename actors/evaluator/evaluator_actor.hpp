#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

/// Spawn detached. Creates the held-out key on first start and publishes its public half. Nobody else can open held-out rows.
evaluator_agent spawn_evaluator(caf::actor_system& system, const agent_context& context);

} // namespace flywheel
