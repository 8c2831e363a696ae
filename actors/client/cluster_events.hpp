#pragma once
// The head's journal, page by page over its port, for commands with --cluster.

#include "actors/client/commands.hpp"
#include "actors/client/event_source.hpp"

namespace flywheel {

/// As the command's --cluster says: the head's journal, or the state folder's. Errors as of open_route.
result<std::unique_ptr<event_source>> open_events(const command_context& c);

} // namespace flywheel
