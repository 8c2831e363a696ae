#include "actors/protocol/control_format.hpp"

#include <nlohmann/json.hpp>

namespace flywheel::control {

using nlohmann::json;

namespace {

/// Refuses nesting before a recursive reader meets it: counts the bytes that can open a map or an array. An over-count
/// (such a byte inside a text) only matters far beyond what a request holds.
bool too_nested(std::string_view bytes) {
  std::size_t run = 0;
  for (const char c : bytes) {
    const auto b = static_cast<unsigned char>(c);
    run = (b >= 0x80 && b <= 0x9f) || (b >= 0xdc && b <= 0xdf) ? run + 1 : 0;
    if (run > 64)
      return true;
  }
  return false;
}

} // namespace

std::string encode(const json& message) {
  json m = message;
  m["v"] = version;
  std::string out;
  json::to_msgpack(m, out);
  return out;
}

result<json> decode(std::string_view bytes) {
  if (bytes.size() > message_bytes_max)
    return error{errc::too_large, "a control message of " + std::to_string(bytes.size()) + " bytes"};
  if (too_nested(bytes))
    return error{errc::protocol_violation, "a control message that is nested too deeply"};
  json m = json::from_msgpack(bytes.begin(), bytes.end(), true, false);
  if (!m.is_object())
    return error{errc::protocol_violation, "a control message that is not a MessagePack map"};
  if (!m.contains("v") || m["v"] != version)
    return error{errc::incompatible_version, "the other side speaks another version of the control protocol", {},
                 "use the same version of flywheel in both terminals"};
  return m;
}

json failure(const error& e) {
  return {{"ok", false},
          {"error", {{"code", std::string{name_of(e.code)}}, {"what", e.what}, {"where", e.where}, {"hint", e.hint}}}};
}

status outcome(const json& reply) {
  if (reply.value("ok", false))
    return success();
  const auto e = reply.value("error", json::object());
  return error{errc_from_name(e.value("code", "internal")).value_or(errc::internal), e.value("what", ""),
               e.value("where", ""), e.value("hint", "")};
}

} // namespace flywheel::control
