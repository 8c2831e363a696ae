#pragma once
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"
#include "deploy/server/model_server.hpp"

namespace flywheel {

/// An HTTP server in this process.
inline result<std::shared_ptr<model_endpoint>> open_model_server(model_server_options options, route_table routes) {
  FLYWHEEL_TRY(auto server, model_server::start(std::move(options), std::move(routes)));
  return std::shared_ptr<model_endpoint>{std::move(server)};
}

struct deployer_options {
  endpoint_opener open_endpoint = open_model_server; ///< where a model is served from
};

/// Spawn detached. The only agent that publishes versions, moves aliases and serves; it asks the journal for a valid
/// approval itself before traffic moves, whoever tells it to (I7).
deployer_agent spawn_deployer(caf::actor_system& system, const agent_context& context, deployer_options options = {});

} // namespace flywheel
