#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"
#include "cluster/worker/worker_pool.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace flywheel {

struct trainer_options {
  std::vector<std::string> worker_command; ///< argv of a worker process
  std::uint32_t slots = 1;
  /// Where tasks run instead of in a pool of this agent's own; asked anew each time the agent starts.
  std::function<result<std::unique_ptr<task_runner>>(worker_pool_events)> runner = {};
};

/// Spawn detached. Starts the worker pool; a pool that cannot start makes every request answer with its error.
trainer_agent spawn_trainer(caf::actor_system& system, const agent_context& context, trainer_options options);

} // namespace flywheel
