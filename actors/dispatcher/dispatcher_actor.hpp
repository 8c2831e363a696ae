#pragma once
// The head's dispatcher: carries out what dispatch_table decides. On a thread of its own, because it writes to the journal.

#include "actors/dispatcher/dispatch_table.hpp"
#include "actors/dispatcher/pool_port.hpp"
#include "actors/dispatcher/task_channel.hpp"
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agents.hpp"
#include "cluster/transfer/grant_book.hpp"
#include "cluster/worker/task_runner.hpp"

#include <atomic>
#include <functional>
#include <memory>

namespace flywheel {

struct dispatcher_options {
  std::string head;                          ///< this node's name
  std::vector<slot> slots;                   ///< its own; may be none
  worker_pool_options pool;                  ///< for them; as many slots
  pool_opener open_pool = open_worker_pool;
  dispatch_rule rule;
  std::chrono::milliseconds heartbeat{500};  ///< asked of the nodes
  gate_agent gate;
  std::shared_ptr<task_channel> channel;
  std::shared_ptr<std::atomic<unsigned>> usable_slots; ///< kept up to date, for whoever plans
  std::string shared_token;                  ///< as in <state>/run/cluster.token
  // For others who count on a node; from the dispatcher's thread. May be empty.
  std::function<void(const std::string& node, const std::string& reason)> node_gone = {}; ///< given up, replaced, or left
  std::function<void(const std::string& node)> node_drains = {};
  std::string address;                       ///< at which the ranks of other nodes reach those of this one
  std::vector<std::string> keeper_command;   ///< argv of the keeper of a gang's ranks
  std::shared_ptr<transfer::grant_book> grants; ///< kept up to date, for the file server; null: there is none
  std::uint16_t data_port = 0;               ///< its port and public key
  std::string data_key;
};

/// Members known from the journal get dead_after to speak. A pool that does not start makes the head a node without slots, and says so.
dispatcher_agent spawn_dispatcher(caf::actor_system& system, const agent_context& context, dispatcher_options options);

/// A runner over the whole cluster; destroying it ends its tasks.
std::unique_ptr<task_runner> make_cluster_runner(dispatcher_agent dispatcher, std::shared_ptr<task_channel> channel, worker_pool_events events);

} // namespace flywheel
