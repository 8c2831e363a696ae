#pragma once
// Manual pages in roff (man macros), from the command table.

#include "actors/client/command_table.hpp"
#include "cluster/base/error.hpp"

#include <filesystem>
#include <string>

namespace flywheel {

/// The page of a command, or of the program if `command` is nullptr.
std::string man_page(const command_spec* command);
/// "flywheel", "flywheel-data-check": name of a page, without the section.
std::string man_page_name(const command_spec* command);
/// Writes all pages as <folder>/man1/<name>.1, replacing older ones. Errors as the file system gives them.
status write_man_pages(const std::filesystem::path& folder);

} // namespace flywheel
