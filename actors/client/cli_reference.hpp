#pragma once
// docs/cli.md, from the command table. tests/actors/client/cli_reference_test.cpp holds the page to it.

#include <string>

namespace flywheel {

/// The whole page in Markdown.
std::string cli_reference();

} // namespace flywheel
