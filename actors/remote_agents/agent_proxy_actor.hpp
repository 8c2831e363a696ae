#pragma once
// What others on a node speak to in place of an agent that lives elsewhere. Proxies and seats are made to be cast to the agent's typed handle.

#include "actors/protocol/agents.hpp"

namespace flywheel {

/// On a node that is not the head: passes what the placed agent `from` says on to `to`.
caf::actor spawn_agent_proxy(caf::actor_system& system, agent_router router, std::string from, std::uint64_t placement, std::string to);

struct seat_options {
  std::string agent;
  agent_desk_agent desk;
  std::function<caf::actor()> start_here;           ///< makes the agent on this node
};

/// On the head: where the agent sits, here or on another node; it asks the desk, and moves when the desk wants it and nobody waits for an
/// answer. Ends when the agent ends; with exit_reason::remote_link_unreachable if it went with its node. Ends the agent when it is ended.
caf::actor spawn_agent_seat(caf::actor_system& system, seat_options options);

} // namespace flywheel
