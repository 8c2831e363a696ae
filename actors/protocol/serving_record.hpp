#pragma once
// <state>/run/serving-<model>: the address at which a model is served by the owner of the state directory.

#include "cluster/journal/state_directory.hpp"

#include <string>

namespace flywheel {

status record_serving(const state_layout& layout, const std::string& model, const std::string& url);
/// not_found if it is not served.
result<std::string> read_serving(const state_layout& layout, const std::string& model);

} // namespace flywheel
