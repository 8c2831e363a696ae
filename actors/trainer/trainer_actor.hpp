#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

#include <string>
#include <vector>

namespace flywheel {

struct trainer_options {
  std::vector<std::string> worker_command; ///< argv of a worker process
  std::uint32_t slots = 1;
};

/// Spawn detached. Starts the worker pool; a pool that cannot start makes every request answer with its error.
trainer_agent spawn_trainer(caf::actor_system& system, const agent_context& context, trainer_options options);

} // namespace flywheel
