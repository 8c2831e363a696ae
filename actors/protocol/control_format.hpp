#pragma once
// How other terminals speak with the owner of a state directory: one MessagePack map per ZeroMQ message over the socket
// <state>/run/control.sock (a folder with mode 0700: only the owner's user gets in). Version 1; page: docs/control.md.
//
// request:  {"v":1, "op":"submit"|"answer"|"cancel"|"rollback"|"wait"|"stop"|"ping", ...arguments}
// reply:    {"v":1, "ok":true, ...}  or  {"v":1, "ok":false, "error":{"code","what","where","hint"}}

#include "cluster/base/error.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

namespace flywheel::control {

inline constexpr int version = 1;
/// A request is a goal spec and a few names.
inline constexpr std::size_t message_bytes_max = 4u << 20;

std::string encode(const nlohmann::json& message);
/// A map of the right version. protocol_violation, too_large (bytes, or nested too deeply) or incompatible_version.
result<nlohmann::json> decode(std::string_view bytes);
nlohmann::json failure(const error& e);
/// The error in a reply, or success.
status outcome(const nlohmann::json& reply);

} // namespace flywheel::control
