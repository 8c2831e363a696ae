#pragma once
// On the head: knows on which node each agent lives, has it started there, carries what is said to and by it, and writes to the journal for it.
//
// An agent lives on a node under a placement, a number that only grows (also over the head's lives). What a node says in an agent's name is taken
// only under its present placement: one that was given up cannot write, ask or answer any more (I5). The connection is the lease: when it breaks,
// or the node is given up, its agents' seats end, and the supervisor starts them elsewhere from the journal.
//
// Letters, each a MessagePack map (letter_box.hpp), through the gate's service "agents":
//
//   head -> node   place {agent, placement, epoch, state, slots} id    remove {agent, placement}
//   node -> head   offer {}    gone {agent, placement, cause}
//   both ways      message {from, placement, to, kind, fields, slots} id    answer {problem | fields} id
//
// Every letter has `op`; `id` stands in those that are answered.

#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"

namespace flywheel {

struct agent_desk_options {
  gate_agent gate;
  const agent_context* context = nullptr;  ///< outlives the actor
};

agent_desk_agent spawn_agent_desk(caf::actor_system& system, agent_desk_options options);

} // namespace flywheel
