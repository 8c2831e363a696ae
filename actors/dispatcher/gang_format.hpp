#pragma once
// Gangs as bytes: between head and nodes (MessagePack maps, page docs/gate-protocol.md), in orders of people, and in the journal.
//
// head -> node   gang_port {}   gang_start {attempt, epoch}   gang_signal {gang, lease, number}
// node -> head   gang_seen {gang, lease, seen}
//
// In the journal a gang is events of the kind gang_state with its name as subject; the first has the order, all have "state" and "attempt".

#include "actors/dispatcher/gang_table.hpp"
#include "cluster/journal/event.hpp"

#include <nlohmann/json_fwd.hpp>

#include <span>
#include <vector>

namespace flywheel::dispatch {

nlohmann::json to_json(const gang_order& o);
nlohmann::json to_json(const gang_attempt& a);
/// Ages are told as of now: `waited` is how long the observation has lain since it was made.
nlohmann::json to_json(const gang_observation& o, nanoseconds waited = {});
/// The body of the journal's event, "state" included.
nlohmann::json to_json(const gang_news& n);
nlohmann::json to_json(const gang_view& v);

// Each: protocol_violation naming what cannot be read. An order is also checked.
result<gang_order> order_from(const nlohmann::json& j);
result<gang_attempt> attempt_from(const nlohmann::json& j);
/// At most 4096.
result<std::vector<gang_observation>> seen_from(const nlohmann::json& j);
/// Gang -> lease.
result<std::map<std::string, std::uint64_t>> held_gangs_from(const nlohmann::json& j);

/// The gangs that were not over, from the journal's events (others than gang_state are ignored), in the order they came. The time of an
/// attempt that nobody saw end counts until the last of the events.
std::vector<gang_memory> unfinished_gangs(std::span<const event> events);

} // namespace flywheel::dispatch
