#pragma once
// Strings of ours may hold any bytes (a path, what a program printed); MessagePack's texts are UTF-8, and are checked to be.

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <optional>
#include <string>

namespace flywheel {

/// Text, or bytes where it is none: MessagePack tells them apart.
inline nlohmann::json text_json(const std::string& s) {
  return is_valid_utf8(s) ? nlohmann::json(s) : nlohmann::json(nlohmann::json::binary({s.begin(), s.end()}));
}
/// Nothing if it is neither.
inline std::optional<std::string> text_from(const nlohmann::json& j) {
  if (j.is_string())
    return j.get<std::string>();
  if (j.is_binary())
    return std::string{j.get_binary().begin(), j.get_binary().end()};
  return std::nullopt;
}

} // namespace flywheel
