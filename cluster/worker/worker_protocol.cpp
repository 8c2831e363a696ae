#include "cluster/worker/worker_protocol.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/worker/message_pack.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace flywheel::wire {
namespace {

using message_pack::value;

// Each message once: its name on the wire and its fields in order. Writer and reader both walk this list.
template <class Visitor> void fields(hello& m, Visitor&& v) {
  v("version", m.version), v("worker", m.worker), v("token", m.token), v("pid", m.pid);
}
template <class Visitor> void fields(welcome& m, Visitor&& v) {
  v("version", m.version), v("heartbeat_ms", m.heartbeat_ms);
}
template <class Visitor> void fields(task& m, Visitor&& v) {
  v("id", m.id), v("attempt", m.attempt), v("kind", m.kind), v("body", m.body);
}
template <class Visitor> void fields(heartbeat& m, Visitor&& v) {
  v("task", m.task), v("step", m.step), v("rss_bytes", m.rss_bytes);
}
template <class Visitor> void fields(report& m, Visitor&& v) {
  v("task", m.task), v("attempt", m.attempt), v("rung", m.rung), v("resource", m.resource), v("value", m.value),
      v("standard_error", m.standard_error);
}
template <class Visitor> void fields(verdict& m, Visitor&& v) { v("task", m.task), v("rung", m.rung), v("go_on", m.go_on); }
template <class Visitor> void fields(log& m, Visitor&& v) { v("task", m.task), v("level", m.level), v("text", m.text); }
template <class Visitor> void fields(done& m, Visitor&& v) {
  v("task", m.task), v("attempt", m.attempt), v("body", m.body);
}
template <class Visitor> void fields(failed& m, Visitor&& v) {
  v("task", m.task), v("attempt", m.attempt), v("code", m.code), v("what", m.what), v("hint", m.hint);
}
template <class Visitor> void fields(stop& m, Visitor&& v) { v("task", m.task), v("reason", m.reason); }

constexpr std::string_view names[] = {"hello", "welcome", "task", "heartbeat", "report",
                                      "verdict", "log",   "done", "failed",    "stop"};
static_assert(std::size(names) == std::variant_size_v<message>);

/// More pairs than any version would need; keeps the search for a key cheap.
constexpr std::uint32_t pairs_max = 64;

using pair_list = std::vector<std::pair<std::string_view, value>>;

const value* find(const pair_list& pairs, std::string_view key) {
  const auto at = std::find_if(pairs.begin(), pairs.end(), [&](const auto& p) { return p.first == key; });
  return at == pairs.end() ? nullptr : &at->second;
}

/// Fills one field after the other; the first problem stays.
struct field_reader {
  const pair_list& pairs;
  std::string_view message_name;
  std::optional<error> problem;

  void complain(std::string_view key, std::string_view expected, const value* got) {
    problem = error{errc::protocol_violation, std::string(message_name) + "." + std::string(key) + ": expected " +
                                                  std::string(expected) + ", got " +
                                                  std::string(got ? name_of(got->is) : "no such key")};
  }
  template <class T> void operator()(std::string_view key, T& field) {
    if (problem)
      return;
    const value* v = find(pairs, key);
    if constexpr (std::is_same_v<T, std::string>) {
      if (!v || v->is != value::kind::text)
        return complain(key, "a string", v);
      field = v->text;
    } else if constexpr (std::is_same_v<T, bool>) {
      if (!v || v->is != value::kind::boolean)
        return complain(key, "a boolean", v);
      field = v->boolean;
    } else if constexpr (std::is_same_v<T, double>) {
      if (v && v->is == value::kind::real)
        field = v->real;
      else if (v && v->is == value::kind::unsigned_integer)
        field = static_cast<double>(v->integer); // scripts say 1 for 1.0
      else
        return complain(key, "a number", v);
    } else {
      if (!v || v->is != value::kind::unsigned_integer || v->integer > std::numeric_limits<T>::max())
        return complain(key, sizeof(T) == 4 ? "an integer from 0 to 2^32-1" : "an integer from 0 to 2^64-1", v);
      field = static_cast<T>(v->integer);
    }
  }
};

template <std::size_t I = 0> message blank(std::size_t index) {
  if constexpr (I + 1 < std::variant_size_v<message>) {
    if (index != I)
      return blank<I + 1>(index);
  }
  return message{std::in_place_index<I>};
}

} // namespace

std::string_view name_of(const message& m) noexcept { return names[m.index()]; }

std::string encode(const message& m) {
  auto copy = m;
  return std::visit(
      [&](auto& body) {
        std::uint32_t count = 1;
        fields(body, [&](std::string_view, auto&) { ++count; });
        message_pack::writer w;
        w.map(count);
        w.text("type");
        w.text(names[m.index()]);
        fields(body, [&]<class T>(std::string_view key, T& field) {
          w.text(key);
          if constexpr (std::is_same_v<T, std::string>)
            w.text(field);
          else if constexpr (std::is_same_v<T, bool>)
            w.boolean(field);
          else if constexpr (std::is_same_v<T, double>)
            w.number(field);
          else
            w.number(static_cast<std::uint64_t>(field));
        });
        return w.take();
      },
      copy);
}

result<message> decode(std::string_view bytes) {
  if (bytes.size() > limits::worker_message_bytes_max)
    return error{errc::too_large, "a message of " + format_bytes(bytes.size()) + ", at most " +
                                      format_bytes(limits::worker_message_bytes_max) + " are allowed"};
  message_pack::reader r{bytes};
  FLYWHEEL_TRY(const auto count, r.map());
  if (count > pairs_max)
    return error{errc::too_large, "a map of " + std::to_string(count) + " pairs, at most " + std::to_string(pairs_max) +
                                      " are allowed"};
  pair_list pairs;
  pairs.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    FLYWHEEL_TRY(const auto key, r.text());
    if (find(pairs, key))
      return error{errc::protocol_violation,
                   "the key " + printable(key, 40) + " repeats before byte " + std::to_string(r.offset())};
    FLYWHEEL_TRY(auto v, r.any());
    pairs.emplace_back(key, v);
  }
  if (!r.at_end())
    return error{errc::protocol_violation, std::to_string(bytes.size() - r.offset()) + " bytes after the message, at byte " +
                                               std::to_string(r.offset())};
  const value* type = find(pairs, "type");
  if (!type || type->is != value::kind::text)
    return error{errc::protocol_violation, "the key type is missing or not a string"};
  const auto at = std::find(std::begin(names), std::end(names), type->text);
  if (at == std::end(names))
    return error{errc::protocol_violation, "unknown message type " + printable(type->text, 40)};

  auto m = blank(static_cast<std::size_t>(at - std::begin(names)));
  if (std::holds_alternative<hello>(m) || std::holds_alternative<welcome>(m)) {
    // Looked at before the other fields: another version may well have others.
    const value* version = find(pairs, "version");
    if (version && version->is == value::kind::unsigned_integer && version->integer != protocol_version)
      return error{errc::incompatible_version, "the peer speaks version " + std::to_string(version->integer) +
                                                   " of the worker protocol, this program speaks " +
                                                   std::to_string(protocol_version)};
  }
  field_reader reader{pairs, *at, std::nullopt};
  std::visit([&](auto& body) { fields(body, reader); }, m);
  if (reader.problem)
    return std::move(*reader.problem);
  return m;
}

} // namespace flywheel::wire
