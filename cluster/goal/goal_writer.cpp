// The way back: structs to canonical JSON along the field table, and the texts that show types and defaults.
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_schema.hpp"

#include <array>
#include <utility>

namespace flywheel {
namespace {

/// A struct is only read here; the table's pointers are not const because the reader shares them.
void* writable(const void* owner) { return const_cast<void*>(owner); }

nlohmann::json space_json(const search_spec& search) {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [family, parameters] : search.space)
    for (const auto& [name, range] : parameters)
      out[family][name] = record_json(space_record(), &range);
  return out;
}

std::string as_yaml(const nlohmann::json& j) {
  if (j.is_string()) {
    const auto& s = j.get_ref<const std::string&>();
    const bool plain = !s.empty() && s.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == std::string::npos;
    return plain && s != "null" && s != "true" && s != "false" ? s : j.dump();
  }
  if (j.is_array()) {
    std::string out = "[";
    for (const auto& x : j)
      out += (out.size() > 1 ? ", " : "") + as_yaml(x);
    return out + "]";
  }
  if (j.is_object()) {
    std::string out = "{";
    for (const auto& [k, v] : j.items())
      out += (out.size() > 1 ? ", " : "") + k + ": " + as_yaml(v);
    return out + "}";
  }
  if (j.is_number_float())
    return shown_number(j.get<double>());
  return j.dump();
}

} // namespace

const schema_field* schema_record::find(std::string_view key) const {
  for (const schema_field& f : fields)
    if (f.key == key)
      return &f;
  return nullptr;
}

std::string exact_duration(nanoseconds d) {
  static constexpr std::array<std::pair<std::int64_t, const char*>, 6> units{
      {{86'400'000'000'000, "d"}, {3'600'000'000'000, "h"}, {60'000'000'000, "m"}, {1'000'000'000, "s"}, {1'000'000, "ms"}, {1'000, "us"}}};
  if (d.count() == 0)
    return "0s";
  for (const auto& [size, name] : units)
    if (d.count() % size == 0)
      return std::to_string(d.count() / size) + name;
  return std::to_string(d.count()) + "ns";
}

std::string exact_bytes(std::uint64_t bytes) {
  static constexpr std::array<std::pair<std::uint64_t, const char*>, 4> units{
      {{1ULL << 40, "TiB"}, {1ULL << 30, "GiB"}, {1ULL << 20, "MiB"}, {1ULL << 10, "KiB"}}};
  for (const auto& [size, name] : units)
    if (bytes != 0 && bytes % size == 0)
      return std::to_string(bytes / size) + name;
  return std::to_string(bytes) + "B";
}

bool is_optional(const schema_field& field, const schema_record& owner) {
  if (field.at.leaf == nullptr)
    return false;
  const field_slot slot = field.at.leaf(owner.defaults);
  return std::holds_alternative<std::optional<double>*>(slot) || std::holds_alternative<std::optional<std::uint64_t>*>(slot) ||
         std::holds_alternative<std::optional<bool>*>(slot) || std::holds_alternative<std::optional<nanoseconds>*>(slot);
}

nlohmann::json leaf_json(const schema_field& field, const field_slot& slot) {
  return std::visit(
      [&](auto* p) -> nlohmann::json {
        using T = std::remove_pointer_t<decltype(p)>;
        if constexpr (std::is_same_v<T, nanoseconds>)
          return exact_duration(*p);
        else if constexpr (std::is_same_v<T, std::optional<nanoseconds>>)
          return *p ? nlohmann::json(exact_duration(**p)) : nlohmann::json();
        else if constexpr (std::is_same_v<T, std::optional<double>> || std::is_same_v<T, std::optional<std::uint64_t>> ||
                           std::is_same_v<T, std::optional<bool>>)
          return *p ? nlohmann::json(**p) : nlohmann::json();
        else if constexpr (std::is_same_v<T, std::uint64_t>)
          return field.type == field_type::bytes ? nlohmann::json(exact_bytes(*p)) : nlohmann::json(*p);
        else
          return *p;
      },
      slot);
}

nlohmann::json record_json(const schema_record& record, const void* owner) {
  void* const o = writable(owner);
  nlohmann::json out = nlohmann::json::object();
  for (const schema_field& f : record.fields) {
    nlohmann::json& slot = out[std::string{f.key}];
    switch (f.type) {
      case field_type::record: slot = record_json(*f.of, f.at.record(o)); break;
      case field_type::records:
        slot = nlohmann::json::array();
        for (std::size_t i = 0; i < f.at.size(o); ++i)
          slot.push_back(record_json(*f.of, f.at.item(o, i)));
        break;
      case field_type::space: slot = space_json(*static_cast<const search_spec*>(owner)); break;
      default: slot = leaf_json(f, f.at.leaf(o)); break;
    }
  }
  return out;
}

std::string type_text(const schema_field& field) {
  const auto bounds = [&]() -> std::string {
    const auto shown = [&](double x) {
      return field.type == field_type::duration ? exact_duration(nanoseconds{static_cast<std::int64_t>(x * 1e9)})
             : field.type == field_type::bytes  ? exact_bytes(static_cast<std::uint64_t>(x))
                                                : shown_number(x);
    };
    if (field.min && field.max && *field.min == *field.max)
      return ", always " + shown(*field.min);
    if (field.min && field.max && *field.max < 1e12) // more is no bound that a person meets
      return (field.above_min ? " above " : " from ") + shown(*field.min) + (field.above_min ? " up to " : " to ") + shown(*field.max);
    if (field.min)
      return (field.above_min ? " above " : " from ") + shown(*field.min);
    return field.max && *field.max < 1e12 ? " up to " + shown(*field.max) : "";
  };
  switch (field.type) {
    case field_type::text: return "text";
    case field_type::label: return "a value (text, number or boolean)";
    case field_type::name: return "a name";
    case field_type::path: return "a path";
    case field_type::column: return "a column's name";
    case field_type::condition: return "a condition such as a <= b";
    case field_type::regex: return "a regular expression";
    case field_type::family: return "a family's name";
    case field_type::user: return "a user's name";
    case field_type::address: return "an IP address";
    case field_type::boolean: return "true or false";
    case field_type::integer: return "a whole number" + bounds();
    case field_type::number: return "a number" + bounds();
    case field_type::fraction: return "a fraction such as 0.95 or 95%" + (field.min || field.max ? "," + bounds() : "");
    case field_type::percent: return "a percentage" + bounds();
    case field_type::duration: return "a duration such as 10m," + bounds();
    case field_type::bytes: return "a size such as 2GiB," + bounds();
    case field_type::record: return "a mapping";
    case field_type::records: return "a list of mappings";
    case field_type::space: return "a mapping: family, then parameter";
    case field_type::choice: break;
  }
  std::string all;
  for (const std::string_view v : field.values)
    all += (all.empty() ? "one of " : ", ") + std::string{v};
  return all;
}

std::string default_text(const schema_field& field, const schema_record& owner) {
  if (field.required || field.type == field_type::record || field.type == field_type::space)
    return "";
  if (field.type == field_type::records) {
    std::string out;
    for (std::size_t i = 0; i < field.at.size(owner.defaults); ++i) {
      nlohmann::json j = record_json(*field.of, field.at.item(owner.defaults, i));
      out += (out.empty() ? "[" : ", ") + as_yaml(j);
    }
    return out.empty() ? "" : out + "]";
  }
  const nlohmann::json j = leaf_json(field, field.at.leaf(owner.defaults));
  if (j.is_null() || j == "" || (j.is_array() && j.empty()))
    return "";
  return as_yaml(j);
}

} // namespace flywheel
