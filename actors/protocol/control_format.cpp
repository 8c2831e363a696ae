#include "actors/protocol/control_format.hpp"

#include "cluster/base/json.hpp"
#include "cluster/worker/message_pack.hpp"

namespace flywheel::control {

using nlohmann::json;

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
  // The whole message is walked without recursion first: the reader below recurses once per level.
  message_pack::reader walk{bytes};
  FLYWHEEL_TRY([[maybe_unused]] const auto whole, walk.any());
  if (!walk.at_end())
    return error{errc::protocol_violation, "bytes behind a control message's end"};
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
