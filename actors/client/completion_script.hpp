#pragma once
// Shell completion, from the command table. Names of goals and models are asked from `flywheel goals -o name` and
// `flywheel models -o name` when the person presses Tab.

#include "cluster/base/error.hpp"

#include <string>
#include <string_view>

namespace flywheel {

/// The script for "bash", "zsh" or "fish"; unsupported for another shell.
result<std::string> completion_script(std::string_view shell);

} // namespace flywheel
