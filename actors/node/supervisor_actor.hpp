#pragma once
// Keeps the agents of a node alive: starts them, notices their end, starts them again and tells those who were waiting.

#include "actors/deployer/deployer_actor.hpp"
#include "actors/evaluator/evaluator_actor.hpp"
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"
#include "actors/trainer/trainer_actor.hpp"

namespace flywheel {

/// stop_atom ends every agent in an order that lets none be missed, then the supervisor.
using supervisor_agent = caf::typed_actor<
    cafx::sig<acknowledgement, resume_atom>,              ///< all agents are started; answered when they are in the directory
    cafx::sig<acknowledgement, crash_atom, std::string>, ///< end the named agent as a crash would
    cafx::sig<acknowledgement, tick_atom>>;               ///< stop everything; answered when every agent is gone

/// Decides where an agent lives, in a cluster (cluster_head::seat).
using agent_seating = std::function<caf::actor(const std::string& agent, std::function<caf::actor()> start_here)>;

/// What agents are made with besides their context: the doors to what is no agent.
struct agent_doors {
  trainer_options trainer;
  deployer_options deployer;
  evaluator_options evaluator;
  agent_seating seating; ///< for agents that may live on other nodes; empty: all live here
};

supervisor_agent spawn_supervisor(caf::actor_system& system, const agent_context& context, agent_doors doors);

} // namespace flywheel
