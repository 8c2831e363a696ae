#pragma once
// --help, from the command table. Examples come first: most people need one line to copy.

#include "actors/client/command_table.hpp"

#include <string>

namespace flywheel {

/// `flywheel --help`: two examples, then the commands by section, then the global options and exit codes.
std::string program_help(bool colour);
/// `flywheel run --help`.
std::string command_help(const command_spec& command, bool colour);
/// `flywheel data --help`: the commands of a group.
std::string group_help(std::string_view group, bool colour);

/// `text` broken at blanks to lines of at most `width` columns, each starting with `indent` blanks; paragraphs (separated by
/// an empty line) stay apart. Ends in a newline.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width = 80);

} // namespace flywheel
