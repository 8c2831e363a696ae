#include "actors/remote_agents/letter_box.hpp"

#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/worker/message_pack.hpp"

#include <algorithm>

namespace flywheel {

using nlohmann::json;

namespace {

error broken(std::string what) { return {errc::protocol_violation, "a letter between nodes: " + std::move(what)}; }

result<json> open(std::string_view bytes) {
  message_pack::reader walk{bytes}; // without recursion first: the reader below recurses once per level
  FLYWHEEL_TRY([[maybe_unused]] const auto whole, walk.any());
  json letter = json::from_msgpack(bytes.begin(), bytes.end(), true, false);
  if (!walk.at_end() || !letter.is_object())
    return broken("it is not one MessagePack map");
  return letter;
}

} // namespace

result<std::vector<std::string>> letter_box::pieces(const json& letter) {
  std::string bytes;
  json::to_msgpack(letter, bytes);
  if (bytes.size() > letter_bytes_max)
    return error{errc::too_large, "a message of " + format_bytes(bytes.size()) + " to an agent on another node; at most " + format_bytes(letter_bytes_max) + " go"};
  const auto of = std::max<std::size_t>(1, (bytes.size() + piece_bytes_max - 1) / piece_bytes_max);
  const auto number = ++last_;
  std::vector<std::string> all;
  for (std::size_t i = 0; i < of; ++i) {
    const auto part = std::string_view{bytes}.substr(i * piece_bytes_max, piece_bytes_max);
    all.push_back(control::encode({{"letter", number}, {"piece", i}, {"of", of}, {"bytes", json::binary({part.begin(), part.end()})}}));
  }
  return all;
}

result<std::optional<json>> letter_box::take(const std::string& peer, const std::string& piece) {
  FLYWHEEL_TRY(const auto m, control::decode(piece));
  for (const char* key : {"letter", "piece", "of"})
    if (!m.contains(key) || !m[key].is_number_unsigned())
      return broken(std::string{"the field '"} + key + "' is missing or no number");
  if (!m.contains("bytes") || !m["bytes"].is_binary())
    return broken("the field 'bytes' is missing");
  const auto number = m["letter"].get<std::uint64_t>(), index = m["piece"].get<std::uint64_t>(), of = m["of"].get<std::uint64_t>();
  const auto& bytes = m["bytes"].get_binary();
  auto& its = unfinished_[peer];
  auto i = its.find(number);
  const bool follows = i == its.end() ? index == 0 : index == i->second.next && of == i->second.of;
  if (!follows || index >= of) {
    its.erase(number);
    return broken("piece " + std::to_string(index) + " of " + std::to_string(of) + " does not follow the one before");
  }
  if (i == its.end()) {
    if (its.size() >= unfinished_max)
      return error{errc::too_large, "more than " + std::to_string(unfinished_max) + " unfinished letters of " + peer};
    i = its.emplace(number, unfinished{0, of, {}}).first;
  }
  auto& u = i->second;
  if (u.bytes.size() + bytes.size() > letter_bytes_max) {
    its.erase(i);
    return error{errc::too_large, "a letter of more than " + format_bytes(letter_bytes_max) + " of " + peer};
  }
  u.bytes.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (++u.next < of)
    return std::optional<json>{};
  const auto whole = std::move(u.bytes);
  its.erase(i);
  FLYWHEEL_TRY(auto letter, open(whole));
  return std::optional<json>{std::move(letter)};
}

} // namespace flywheel
