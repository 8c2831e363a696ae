#pragma once
// A message of actors/protocol as named fields, for borders where CAF's own form may not pass. Any message for which CAFX_INSPECT stands
// in agents.hpp; the names there are the names here, so that both sides may be of different versions: what is missing keeps its default, what
// is unknown is ignored.

#include "actors/protocol/agents.hpp"
#include "actors/protocol/text_or_bytes.hpp"
#include "cluster/base/json.hpp"

#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

namespace flywheel::message_fields {

namespace detail {

/// Takes the first name off "a, b, c".
inline std::string next_name(std::string_view& names) {
  const auto end = std::min(names.find(','), names.size());
  const std::string name{names.substr(0, end)};
  names.remove_prefix(std::min(names.size(), end + 2));
  return name;
}

template <class T> inline constexpr bool is_plain = std::is_same_v<T, std::string> || std::is_same_v<T, bool> || std::is_unsigned_v<T>;

} // namespace detail

template <class M> nlohmann::json to_json(const M& m) {
  auto j = nlohmann::json::object();
  visit_fields(m, [&](std::string_view names, const auto&... fields) {
    const auto put = [&](const auto& field) {
      auto name = detail::next_name(names);
      if constexpr (std::is_same_v<std::decay_t<decltype(field)>, std::string>)
        j[std::move(name)] = text_json(field);
      else if constexpr (detail::is_plain<std::decay_t<decltype(field)>>)
        j[std::move(name)] = field;
      else
        j[std::move(name)] = to_json(field);
    };
    (put(fields), ...);
  });
  return j;
}

/// protocol_violation naming the field.
template <class M> result<M> from_json(const nlohmann::json& j) {
  M m;
  error problem{errc::ok, {}};
  if (!j.is_object())
    return error{errc::protocol_violation, "the fields of a message are not a map"};
  visit_fields(m, [&](std::string_view names, auto&... fields) {
    const auto take = [&](auto& field) {
      using type = std::decay_t<decltype(field)>;
      const auto name = detail::next_name(names);
      const auto i = j.find(name);
      if (i == j.end() || problem.code != errc::ok)
        return;
      bool fits = false;
      if constexpr (std::is_same_v<type, std::string>) {
        auto text = text_from(*i);
        if ((fits = text.has_value()))
          field = std::move(*text);
      } else if constexpr (std::is_same_v<type, bool>) {
        if ((fits = i->is_boolean()))
          field = i->template get<bool>();
      } else if constexpr (std::is_unsigned_v<type>) {
        if ((fits = i->is_number_unsigned() && i->template get<std::uint64_t>() <= std::numeric_limits<type>::max()))
          field = i->template get<type>();
      } else {
        if (auto inner = from_json<type>(*i); (fits = inner.has_value()))
          field = std::move(*inner);
      }
      if (!fits)
        problem = error{errc::protocol_violation, "the field '" + name + "' of a message has another type"};
    };
    (take(fields), ...);
  });
  if (problem.code != errc::ok)
    return problem;
  return m;
}

} // namespace flywheel::message_fields
