#pragma once
#include "actors/evaluator/traffic_replay.hpp"
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

struct evaluator_options {
  traffic_sender send = replay_rows; ///< how held-out rows reach a model that is served
};

/// Spawn detached. Creates the held-out key on first start and publishes its public half. Nobody else can open held-out rows.
evaluator_agent spawn_evaluator(caf::actor_system& system, const agent_context& context, evaluator_options options = {});

} // namespace flywheel
