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
/// `data_port` is the file server's, on the host that the node dialled; 0: it has none.
struct welcome {
  std::uint64_t epoch = 0;       ///< the node's fencing epoch
  std::uint64_t head_epoch = 0;  ///< grows with each start of the head: work of an older one is ended
  std::uint32_t heartbeat_ms = 500, dead_after_ms = 3000;
  std::string state;             ///< the head's state directory
  std::string token;             ///< stands in <state>/run/cluster.token: who reads it there shares the head's files
  std::uint16_t data_port = 0;
  std::string data_key;          ///< the file server's public key
};

/// What a node says when it dials. `data_key`: the public key that it will show to the file server, of this incarnation alone; may be empty.
struct greeting {
  std::uint32_t protocol = 0;
  std::string data_key;
};
/// As the gate carries it: JSON.
std::string to_text(const greeting& g);
/// Protocol 0 if it cannot be read; a key that is none is left out.
greeting greeting_from(const std::string& text);

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
