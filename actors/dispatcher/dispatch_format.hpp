#pragma once
// What head and node say to each other through the gate's service "cluster": one MessagePack map a message, as control_format. Page:
// docs/gate-protocol.md.
//
// node -> head   sync {slots, held}   beat {n}   report {lease, report}   ended {lease, end}   leave
// head -> node   run {task, lease, epoch}   stop {task, lease, reason}   shutdown {reason}
// Each is a call and answered with a map or an error; each may be repeated.

#include "actors/dispatcher/dispatch_table.hpp"

#include <nlohmann/json_fwd.hpp>

#include <span>
#include <string>
#include <vector>

namespace flywheel::dispatch {

/// What the head answers a node that joins with.
struct welcome {
  std::uint64_t epoch = 0;       ///< the node's fencing epoch
  std::uint64_t head_epoch = 0;  ///< grows with each start of the head: work of an older one is ended
  std::uint32_t heartbeat_ms = 500, dead_after_ms = 3000;
  std::string state;             ///< the head's state directory
  std::string token;             ///< stands in <state>/run/cluster.token: who reads it there shares the head's files
};

nlohmann::json to_json(const welcome& w);
nlohmann::json to_json(const worker_task& t);
nlohmann::json to_json(const task_end& e);
nlohmann::json to_json(const wire::report& r);
nlohmann::json to_json(std::span<const slot> slots);
nlohmann::json to_json(std::span<const held_task> held);

// Each: protocol_violation naming the field.
result<welcome> welcome_from(const nlohmann::json& j);
result<worker_task> task_from(const nlohmann::json& j);
result<task_end> end_from(const nlohmann::json& j);
result<wire::report> report_from(const nlohmann::json& j);
/// Slots of `node`; at most 4096.
result<std::vector<slot>> slots_from(const nlohmann::json& j, const std::string& node);
result<std::vector<held_task>> held_from(const nlohmann::json& j);

} // namespace flywheel::dispatch
