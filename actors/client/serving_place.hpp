#pragma once
// Where a model is served now, as its owner left it in <state>/run (emptied when an owner starts).

#include "cluster/base/error.hpp"

#include <filesystem>
#include <string>

namespace flywheel {

/// Empty if nobody serves the model.
std::string serving_url(const std::filesystem::path& state, const std::string& model);

} // namespace flywheel
