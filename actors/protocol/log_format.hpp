#pragma once
// Journal entries and questions as JSON, for those who read or write the journal over a connection.

#include "cluster/journal/event_log.hpp"

#include <nlohmann/json_fwd.hpp>

#include <vector>

namespace flywheel::log_format {

/// All fields by name, without loss: strings of any bytes, the hash as hex.
nlohmann::json to_json(const std::vector<event_draft>& drafts);
nlohmann::json to_json(const event& e);
nlohmann::json to_json(const journal_filter& f);

// Each: protocol_violation naming the field.
result<std::vector<event_draft>> drafts_from(const nlohmann::json& j);
result<std::vector<event>> events_from(const nlohmann::json& j);
result<journal_filter> filter_from(const nlohmann::json& j);

/// What matches, oldest first (or newest, as the filter says), until `bytes_max` of JSON are about reached: {"events", "more", "last": the journal's
/// last seq}. Asked again with after_seq of the last one it goes on. At least one entry, however large. too_large: more of the newest first than fit.
result<nlohmann::json> page(const event_log& log, const journal_filter& filter, std::size_t bytes_max);

} // namespace flywheel::log_format
