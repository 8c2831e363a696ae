#pragma once
// What `flywheel launch` tells of a gang: sentences for people, records for programs, and the exit code. Pure.

#include "cluster/base/json.hpp"
#include "cluster/gang/gang_supervisor.hpp"

#include <optional>

namespace flywheel {

/// A line for standard error, without its end; empty for events that people need not see.
std::string line_of(const gang_event& e);
/// One JSON object a line: "event", "at_ns" (monotonic clock), "attempt", and what the event has.
nlohmann::json record_of(const gang_event& e);
/// What the journal says of the end of a gang on a cluster (`body` of a gang_state event); nothing if that is not its end.
std::optional<gang_result> end_in(const nlohmann::json& body);
/// The last line: "event" is "done" or "failed".
nlohmann::json record_of(const gang_result& r);
/// The one sentence of the end.
std::string line_of(const gang_result& r);
/// 0; the code of the rank that is the cause, or 128 + its signal; 127 if its program could not be started; 128 + `stop_signal` if
/// the gang was stopped; 1 for ends without a code (hung, frozen, never came up).
int exit_code_of(const gang_result& r, int stop_signal) noexcept;

} // namespace flywheel
