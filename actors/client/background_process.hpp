#pragma once
// A process of this same program that goes on when the terminal closes.

#include "cluster/base/error.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace flywheel {

/// Starts `words` in a session of its own; its output is appended to `log`. The pid.
result<int> start_background(std::vector<std::string> words, const std::filesystem::path& log);
/// Asks `ready` now and then until it says so. interrupted if the process ends before, timed_out after 30 s; both name the log.
status wait_until_ready(int pid, const std::filesystem::path& log, const std::function<bool()>& ready);

} // namespace flywheel
