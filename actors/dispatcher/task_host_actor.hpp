#pragma once
// A node that works for a head: runs the tasks it is sent, keeps an end until the head has taken it, and stops everything when it may no
// longer believe that what it runs is its own (cluster/membership/lease_watch). Detached: ending workers waits for them.
//
// If it does not share the head's files, a courier (cluster/transfer) moves those of each task, on threads of its own:
//   run -> fetched -> in the pool -> at each report: saved, then the verdict is asked for -> ended -> results brought -> the end is told
// What the courier cannot do hands the task back to the head: another node may.

#include "actors/dispatcher/pool_port.hpp"
#include "actors/protocol/agents.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/placement/slot.hpp"
#include "cluster/transfer/task_courier.hpp"

#include <functional>
#include <string>
#include <vector>

namespace flywheel {

struct task_host_options {
  std::string node;                                       ///< this node's name
  std::vector<slot> slots;
  worker_pool_options pool;                               ///< as many slots
  pool_opener open_pool = open_worker_pool;
  gate_agent gate;
  const time_source* time = nullptr;
  std::uint64_t incarnation = 0;                          ///< with which the gate was started
  std::string greeting;                                   ///< as the gate's
  std::shared_ptr<const transfer::curve_keys> keys;       ///< of this incarnation, the public one in the greeting; null: nothing can be fetched
  std::filesystem::path folder;                           ///< for fetched files
  std::uint64_t cache_bytes_max = 0;                      ///< of them
  std::function<std::uint64_t()> next_incarnation;        ///< larger each time, durable before it returns
  std::function<void(const std::string& reason)> shut_down; ///< the head wants this process to end
  std::vector<std::string> keeper_command;                ///< argv of the keeper of a gang's ranks
  std::string head_host;                                  ///< as it is dialled: how others reach this node's ranks is found out from it
  std::uint16_t head_port = 0;
  std::function<void(const std::string& sentence)> log;   ///< what an operator should see
};

/// Whether this node sees the files of the head that welcomed it with this text (dispatch::welcome): the token that stands there is in them.
bool shares_files(const std::string& welcome);

task_host_agent spawn_task_host(caf::actor_system& system, task_host_options options);

} // namespace flywheel
