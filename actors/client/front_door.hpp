#pragma once
// The commands that are answered from the command table alone, before any state, socket or agent exists.

#include "actors/client/command_line.hpp"

#include <optional>
#include <ostream>

namespace flywheel {

/// Answers help (also --help and no command at all), man and completion; nothing for every other command, and for version.
/// Returns the exit code, or an error for the caller to print (not_found: no such command to help with).
std::optional<result<int>> answer_from_table(const command_line& line, std::ostream& out, bool colour);

} // namespace flywheel
