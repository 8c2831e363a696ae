#pragma once
// On a node that works for a head: starts the agents that the head's desk places here, carries what is said to and by them, and ends them when the
// connection breaks, for then the head has them started elsewhere. Letters: agent_desk_actor.hpp.

#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace flywheel {

struct agent_host_options {
  gate_agent gate;
  const time_source* time = nullptr;
  std::string code;                          ///< program version, for lineage
  unsigned cores = 1;                        ///< an agent may use for itself
  /// Makes the agent of that name, in the context given, which outlives it.
  std::map<std::string, std::function<caf::actor(caf::actor_system&, const agent_context&)>> make;
  /// Whether this node sees the files of the head that welcomed it with this text: others take no agents.
  std::function<bool(const std::string& welcome)> shares_files;
  std::function<void(const std::string& sentence)> log;
  /// What agents were given. A job of one that was ended may still use it: keep it until the actor system has ended.
  std::shared_ptr<std::vector<std::shared_ptr<void>>> worlds = std::make_shared<std::vector<std::shared_ptr<void>>>();
};

agent_host_agent spawn_agent_host(caf::actor_system& system, agent_host_options options);

} // namespace flywheel
