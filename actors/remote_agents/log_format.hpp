#pragma once
// Journal entries and questions as JSON, for letters between an agent on another node and the journal.

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

} // namespace flywheel::log_format
