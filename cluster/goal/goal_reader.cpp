#include "cluster/goal/goal_reader.hpp"

#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace flywheel {
namespace {

std::string joined(const std::string& path, std::string_view key) {
  return path.empty() ? std::string{key} : path + "." + std::string{key};
}
std::string indexed(const std::string& path, std::size_t i) { return path + "[" + std::to_string(i) + "]"; }

/// How messages name a field: by its key, or by the two last keys where one says little ("metric.name").
std::string last_key(const std::string& path) {
  const auto dot = path.rfind('.');
  if (dot == std::string::npos)
    return path;
  const std::string key = path.substr(dot + 1);
  const auto before = path.rfind('.', dot - 1);
  return key != "name" ? key : path.substr(before == std::string::npos ? 0 : before + 1);
}

/// Where else in the table a key of that name lives, e.g. "search.budget"; empty if nowhere or in several places.
std::string home_of(std::string_view key, const schema_record& record, const std::string& path, int& found) {
  std::string home;
  for (const schema_field& f : record.fields) {
    if (f.key == key && !path.empty()) {
      ++found;
      home = path;
    }
    if (f.type == field_type::record)
      if (const std::string below = home_of(key, *f.of, joined(path, f.key), found); !below.empty())
        home = below;
  }
  return home;
}

} // namespace

std::optional<double> plain_number(std::string_view text) {
  if (text.size() > 1 && text.front() == '+' && text[1] != '-')
    text.remove_prefix(1);
  double x = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (text.empty() || code != std::errc{} || end != text.data() + text.size() || !std::isfinite(x))
    return std::nullopt;
  return x;
}

std::string shown_number(double x) {
  return x == std::floor(x) && std::fabs(x) <= 1e15 ? std::to_string(static_cast<std::int64_t>(x)) : format_number(x);
}

const goal_places::spot* goal_places::find(const std::string& path) const {
  const auto i = spots_.find(path);
  return i == spots_.end() ? nullptr : &i->second;
}

goal_place goal_places::of(std::string path) const {
  for (;;) {
    if (const spot* s = find(path))
      return s->place;
    const auto cut = path.find_last_of(".[");
    if (cut == std::string::npos)
      return {};
    path.resize(cut);
  }
}

bool goal_reader::expected(const goal_node& node, const std::string& path, const std::string& what, std::string suggestion) {
  if (node.type == goal_node::kind::null)
    problems_.error(node.place, path, "type", "'" + last_key(path) + "' has no value; write " + what, std::move(suggestion));
  else
    problems_.error(node.place, path, "type", "'" + last_key(path) + "' must be " + what + ", not " + noun_of(node),
                    std::move(suggestion));
  return false;
}

std::string goal_reader::unknown_key(const goal_entry& entry, const schema_record& record, const std::string& path) {
  std::vector<std::string_view> keys;
  for (const schema_field& f : record.fields)
    keys.push_back(f.key);
  std::string message = "unknown key '" + printable(entry.key, 60) + "'" + (path.empty() ? "" : " in '" + path + "'");
  std::string suggestion;
  if (!problems_.full()) {
    std::string plain = lower(entry.key);
    std::replace(plain.begin(), plain.end(), '-', '_');
    suggestion = std::string{nearest(plain, keys)};
    int found = 0;
    if (const std::string home = home_of(plain, root_, "", found); suggestion.empty() && found == 1 && home != path)
      message += "; it belongs under '" + home + "'";
    else if (suggestion.empty()) {
      std::string all;
      for (const std::string_view k : keys)
        all += (all.empty() ? "" : ", ") + std::string{k};
      message += "; known are " + all;
    }
  }
  problems_.error(entry.place, joined(path, printable(entry.key, 60)), "unknown-key", std::move(message), suggestion);
  return suggestion;
}

void goal_reader::read(const goal_node& node, const schema_record& record, void* owner, const std::string& path, goal_place at) {
  if (node.type == goal_node::kind::scalar && !record.shorthand.empty()) {
    goal_node map;
    map.type = goal_node::kind::map;
    map.place = node.place;
    map.entries.push_back({std::string{record.shorthand}, node.place, node});
    return read(map, record, owner, path, at);
  }
  if (node.type != goal_node::kind::map) {
    expected(node, path.empty() ? "the goal" : path, "a mapping (key: value)");
    return;
  }
  std::vector<std::string> meant; // a required key that is only misspelt is not missing as well
  for (const goal_entry& e : node.entries) {
    if (problems_.full())
      return;
    if (const schema_field* f = record.find(e.key))
      read_field(e, *f, record, owner, joined(path, e.key));
    else
      meant.push_back(unknown_key(e, record, path));
  }
  for (const schema_field& f : record.fields)
    if (f.required && std::find(meant.begin(), meant.end(), f.key) == meant.end() && std::none_of(node.entries.begin(), node.entries.end(), [&](const goal_entry& e) { return e.key == f.key; }))
      problems_.error(at, joined(path, f.key), "missing",
                      "'" + std::string{f.key} + "' is missing" + (path.empty() ? "" : " in '" + path + "'") + "; add " +
                          std::string{f.key} + ":" + (f.example.empty() ? "" : " " + std::string{f.example}));
}

void goal_reader::read_field(const goal_entry& entry, const schema_field& field, const schema_record& record, void* owner,
                             const std::string& path) {
  const goal_node& node = entry.value;
  // An empty value has no place of its own: its key has.
  places_.set(path, node.type == goal_node::kind::null || node.type == goal_node::kind::map ? entry.place : node.place, node.quoted);
  if (node.type == goal_node::kind::null && (field.type == field_type::record || field.type == field_type::records || field.list)) {
    problems_.error(entry.place, path, "type", "'" + std::string{field.key} + "' has no value; fill it in or remove the key");
    return;
  }
  switch (field.type) {
    case field_type::record: return read(node, *field.of, field.at.record(owner), path, entry.place);
    case field_type::records: return read_records(node, field, owner, path);
    case field_type::space: return read_space(node, owner, path);
    default: break;
  }
  const field_slot slot = field.at.leaf(owner);
  if (field.list)
    return read_list(node, field, slot, path);
  if (node.type == goal_node::kind::null && !field.required && default_text(field, record).empty())
    return; // null says "not set", which is what it is
  goal_node here = node;
  if (node.type == goal_node::kind::null)
    here.place = entry.place;
  scalar(here, field, slot, path);
}

void goal_reader::read_records(const goal_node& node, const schema_field& field, void* owner, const std::string& path) {
  if (node.type != goal_node::kind::list) {
    expected(node, path, "a list (- ...)");
    return;
  }
  field.at.clear(owner);
  for (std::size_t i = 0; i < node.items.size() && !problems_.full(); ++i) {
    places_.set(indexed(path, i), node.items[i].place, node.items[i].quoted);
    read(node.items[i], *field.of, field.at.append(owner), indexed(path, i), node.items[i].place);
  }
}

void goal_reader::read_list(const goal_node& node, const schema_field& field, const field_slot& slot, const std::string& path) {
  if (node.type != goal_node::kind::list) {
    expected(node, path, "a list", node.type == goal_node::kind::scalar && node.text.size() < 60 ? "[" + node.text + "]" : "");
    return;
  }
  auto* const texts = std::get_if<std::vector<std::string>*>(&slot);
  auto* const numbers = std::get_if<std::vector<double>*>(&slot);
  if (texts != nullptr)
    (*texts)->clear();
  if (numbers != nullptr)
    (*numbers)->clear();
  for (std::size_t i = 0; i < node.items.size() && !problems_.full(); ++i) {
    goal_node item = node.items[i];
    const std::string here = indexed(path, i);
    places_.set(here, item.place, item.quoted);
    // In a list of values an unquoted null or ~ is that text: null_tokens: [NA, null].
    if (item.type == goal_node::kind::null && field.type == field_type::label && !item.text.empty())
      item.type = goal_node::kind::scalar;
    if (texts != nullptr) {
      std::string text;
      if (scalar(item, field, &text, here))
        (*texts)->push_back(std::move(text));
    } else if (numbers != nullptr) {
      double x = 0;
      if (scalar(item, field, &x, here))
        (*numbers)->push_back(x);
    }
  }
}

void goal_reader::read_space(const goal_node& node, void* owner, const std::string& path) {
  auto& space = static_cast<search_spec*>(owner)->space;
  if (node.type != goal_node::kind::map) {
    expected(node, path, "a mapping (family: ...)");
    return;
  }
  std::vector<std::string> families;
  for (const auto& [name, parameters] : vocabulary_.families)
    families.push_back(name);
  for (const goal_entry& family : node.entries) {
    const std::string here = joined(path, family.key);
    places_.set(here, family.place);
    const auto known = vocabulary_.families.find(family.key);
    if (known == vocabulary_.families.end()) {
      problems_.error(family.place, here, "unknown-family",
                      "there is no family '" + printable(family.key, 40) + "'; known are " + join(families, ", "),
                      std::string{nearest(family.key, families)});
      continue;
    }
    if (family.value.type != goal_node::kind::map) {
      expected(family.value, here, "a mapping (parameter: {low: ..., high: ...})");
      continue;
    }
    for (const goal_entry& parameter : family.value.entries) {
      if (problems_.full())
        return;
      const std::string leaf = joined(here, parameter.key);
      places_.set(leaf, parameter.place);
      if (std::find(known->second.begin(), known->second.end(), parameter.key) == known->second.end()) {
        const std::string_view near = nearest(parameter.key, known->second);
        problems_.error(parameter.place, leaf, "unknown-parameter",
                        "the family '" + family.key + "' has no parameter '" + printable(parameter.key, 40) + "'" +
                            (near.empty() ? "; known are " + join(known->second, ", ") : ""),
                        std::string{near});
        continue;
      }
      read(parameter.value, space_record(), &space[family.key][parameter.key], leaf, parameter.place);
    }
  }
}

bool goal_reader::in_range(const goal_node& node, const schema_field& field, const std::string& path, double value) {
  const bool low = field.min && (field.above_min ? value <= *field.min : value < *field.min);
  const bool high = field.max && value > *field.max;
  if (!low && !high)
    return true;
  const auto shown = [&](double x) {
    switch (field.type) {
      case field_type::duration: return exact_duration(nanoseconds{static_cast<std::int64_t>(x * 1e9)});
      case field_type::bytes: return exact_bytes(static_cast<std::uint64_t>(x));
      default: return shown_number(x);
    }
  };
  std::string message = "'" + last_key(path) + "' must be " + (low ? (field.above_min ? "more than " : "at least ") : "at most ") +
                        shown(low ? *field.min : *field.max) +
                        (field.unit.empty() || (low && *field.min == 1) ? "" : " " + std::string{field.unit}) + ", not " +
                        printable(node.text, 40);
  if (field.min && field.max && *field.min == *field.max)
    message = "'" + last_key(path) + "' must be " + shown(*field.min) + ", the version that this program reads, not " + printable(node.text, 40);
  std::string suggestion;
  if (field.type == field_type::fraction && high && value > 1 && value <= 100)
    suggestion = shown_number(value) + "%";
  problems_.error(node.place, path, "range", std::move(message), std::move(suggestion));
  return false;
}

bool goal_reader::read_number(const goal_node& node, const schema_field& field, const std::string& path, double& out) {
  std::string_view text = trim(node.text);
  const bool may_percent = field.type == field_type::fraction || field.type == field_type::percent;
  const bool percent = text.ends_with('%');
  if (percent && !may_percent && plain_number(trim(text.substr(0, text.size() - 1)))) {
    problems_.error(node.place, path, "unit", "'" + last_key(path) + "' is no percentage; write " + type_text(field),
                    std::string{trim(text.substr(0, text.size() - 1))});
    return false;
  }
  if (percent && may_percent)
    text = trim(text.substr(0, text.size() - 1));
  const auto x = plain_number(text);
  if (!x) {
    std::string digits;
    if (const auto end = text.find_first_not_of("0123456789.+-eE"); end != 0 && end != std::string_view::npos &&
                                                                    plain_number(text.substr(0, end)) && !node.quoted) {
      problems_.error(node.place, path, "unit",
                      "'" + last_key(path) + "' takes " + type_text(field) + " and no unit '" + printable(trim(text.substr(end)), 20) + "'",
                      std::string{text.substr(0, end)});
      return false;
    }
    for (const char c : text)
      if (c != '_' && c != ',' && c != '\'')
        digits += c;
    return expected(node, path, type_text(field), digits.size() < text.size() && plain_number(digits) ? digits : "");
  }
  if (node.quoted && !percent)
    return expected(node, path, type_text(field) + " without quotes", std::string{text});
  out = percent && field.type == field_type::fraction ? *x / 100 : *x;
  if (field.type == field_type::integer && out != std::floor(out))
    return expected(node, path, type_text(field), shown_number(std::round(out)));
  return in_range(node, field, path, out);
}

bool goal_reader::read_duration(const goal_node& node, const schema_field& field, const std::string& path, nanoseconds& out) {
  const std::string_view text = trim(node.text);
  if (const auto x = plain_number(text)) {
    problems_.error(node.place, path, "unit", "'" + last_key(path) + "' needs a unit: ms, s, m, h or d",
                    *x > 0 ? std::string{text} + "s" : "");
    return false;
  }
  if (text.starts_with('-') && parse_duration(text.substr(1))) {
    problems_.error(node.place, path, "range", "'" + last_key(path) + "' must not be negative", std::string{text.substr(1)});
    return false;
  }
  const auto d = parse_duration(text);
  if (!d) {
    const std::string small = lower(text);
    std::string suggestion;
    const auto words = small.find_first_not_of("0123456789. ");
    if (words != std::string::npos && words > 0) {
      const std::string number{trim(std::string_view{small}.substr(0, words))};
      const std::string_view unit = trim(std::string_view{small}.substr(words));
      for (const auto& [long_form, short_form] :
           {std::pair<std::string_view, std::string_view>{"seconds", "s"}, {"secs", "s"}, {"minutes", "m"}, {"mins", "m"},
            {"hours", "h"}, {"hrs", "h"}, {"days", "d"}, {"milliseconds", "ms"}, {"msecs", "ms"}})
        if (unit == long_form || unit == long_form.substr(0, long_form.size() - 1) || unit == short_form)
          suggestion = number + std::string{short_form};
      if ((unit == "w" || unit == "week" || unit == "weeks") && plain_number(number))
        suggestion = shown_number(7 * *plain_number(number)) + "d";
      if (suggestion.size() > 30 || !parse_duration(suggestion))
        suggestion.clear();
    }
    problems_.error(node.place, path, d.error().code == errc::too_large ? "range" : "unit",
                    "'" + last_key(path) + "' must be a duration such as 90s, 10m or 1h30m, not " + noun_of(node), suggestion);
    return false;
  }
  out = *d;
  return in_range(node, field, path, static_cast<double>(d->count()) / 1e9);
}

bool goal_reader::read_bytes(const goal_node& node, const schema_field& field, const std::string& path, std::uint64_t& out) {
  const std::string_view text = trim(node.text);
  const auto b = parse_bytes(text);
  if (!b) {
    std::string suggestion;
    const auto digits = text.find_first_not_of("0123456789.");
    if (digits != std::string_view::npos && digits > 0) {
      const std::string unit = lower(trim(text.substr(digits)));
      for (const auto& [theirs, ours] : {std::pair<std::string_view, std::string_view>{"k", "KiB"}, {"kb", "KB"}, {"kib", "KiB"},
                                         {"ki", "KiB"}, {"m", "MiB"}, {"mb", "MB"}, {"mib", "MiB"}, {"mi", "MiB"}, {"g", "GiB"},
                                         {"gb", "GB"}, {"gib", "GiB"}, {"gi", "GiB"}, {"t", "TiB"}, {"tb", "TB"}, {"tib", "TiB"}})
        if (unit == theirs)
          suggestion = std::string{text.substr(0, digits)} + std::string{ours};
    }
    if (text.starts_with('-') && parse_bytes(text.substr(1)))
      problems_.error(node.place, path, "range", "'" + last_key(path) + "' must not be negative", std::string{text.substr(1)});
    else
      problems_.error(node.place, path, b.error().code == errc::too_large ? "range" : "unit",
                      "'" + last_key(path) + "' must be a size such as 512MiB or 2GB, not " + noun_of(node), suggestion);
    return false;
  }
  out = *b;
  return in_range(node, field, path, static_cast<double>(*b));
}

bool goal_reader::read_boolean(const goal_node& node, const std::string& path, bool& out) {
  const std::string word = lower(node.text);
  if (node.text == "true" || node.text == "false") {
    if (node.quoted)
      return expected(node, path, "true or false without quotes", node.text);
    out = node.text == "true";
    return true;
  }
  const bool yes = word == "true" || word == "yes" || word == "on" || word == "y" || word == "1";
  const bool no = word == "false" || word == "no" || word == "off" || word == "n" || word == "0";
  return expected(node, path, "true or false", yes ? "true" : no ? "false" : "");
}

bool goal_reader::read_text(const goal_node& node, const schema_field& field, const std::string& path, std::string& out) {
  out = node.text;
  if (out.size() > 4096) {
    problems_.error(node.place, path, "limit", "'" + last_key(path) + "' has more than 4096 bytes");
    return false;
  }
  if (out.empty() && field.type != field_type::label && (field.required || field.list)) {
    problems_.error(node.place, path, "missing", "'" + last_key(path) + "' is empty");
    return false;
  }
  const auto one_of = [&](const std::vector<std::string_view>& values, const char* rule) {
    if (std::find(values.begin(), values.end(), out) != values.end())
      return true;
    std::string all;
    for (const std::string_view v : values)
      all += (all.empty() ? "" : ", ") + std::string{v};
    problems_.error(node.place, path, rule, noun_of(node) + " is not possible for '" + last_key(path) + "'; one of " + all,
                    std::string{nearest(out, values)});
    return false;
  };
  switch (field.type) {
    case field_type::choice: return one_of(field.values, "choice");
    case field_type::family: {
      std::vector<std::string_view> known;
      for (const auto& [name, parameters] : vocabulary_.families)
        known.push_back(name);
      return one_of(known, "unknown-family");
    }
    case field_type::name:
      if (out.empty() || is_valid_name(out))
        return true;
      break;
    case field_type::user:
      if (out == "*" || out == "@me" || is_valid_name(out))
        return true;
      problems_.error(node.place, path, "name", noun_of(node) + " is no user name; write a name, \"*\" or \"@me\"",
                      out == "me" || lower(out) == "@me" ? "@me" : "");
      return false;
    default: return true;
  }
  std::string fixed;
  for (const char c : out.substr(0, 64))
    fixed += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ? c : '-';
  problems_.error(node.place, path, "name",
                  noun_of(node) + " is no name; use letters, digits, '-', '_' and '.', at most 64, not starting with '-' or '.'",
                  is_valid_name(fixed) ? fixed : "");
  return false;
}

bool goal_reader::scalar(const goal_node& node, const schema_field& field, const field_slot& slot, const std::string& path) {
  if (node.type != goal_node::kind::scalar)
    return expected(node, path, type_text(field));
  return std::visit(
      [&](auto* target) {
        using T = std::remove_pointer_t<decltype(target)>;
        if constexpr (std::is_same_v<T, std::string>) {
          std::string text;
          if (!read_text(node, field, path, text))
            return false;
          *target = std::move(text);
          return true;
        } else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::optional<bool>>) {
          bool b = false;
          if (!read_boolean(node, path, b))
            return false;
          *target = b;
          return true;
        } else if constexpr (std::is_same_v<T, nanoseconds> || std::is_same_v<T, std::optional<nanoseconds>>) {
          nanoseconds d{};
          if (!read_duration(node, field, path, d))
            return false;
          *target = d;
          return true;
        } else if constexpr (std::is_same_v<T, double> || std::is_same_v<T, std::optional<double>>) {
          double x = 0;
          if (!read_number(node, field, path, x))
            return false;
          *target = x;
          return true;
        } else if constexpr (std::is_integral_v<T> || std::is_same_v<T, std::optional<std::uint64_t>>) {
          std::uint64_t n = 0;
          if (field.type == field_type::bytes) {
            if (!read_bytes(node, field, path, n))
              return false;
          } else {
            double x = 0;
            if (!read_number(node, field, path, x))
              return false;
            n = static_cast<std::uint64_t>(x); // in the field's bounds, which fit the member
          }
          if constexpr (std::is_integral_v<T>)
            *target = static_cast<T>(n);
          else
            *target = n;
          return true;
        } else {
          return false; // lists are read item by item
        }
      },
      slot);
}

bool node_from_json(const nlohmann::json& j, goal_node& out) {
  struct walker {
    std::size_t nodes = 0;
    bool walk(const nlohmann::json& from, goal_node& to, std::size_t depth) {
      if (++nodes > limits::yaml_nodes_max || depth > limits::yaml_depth_max)
        return false;
      switch (from.type()) {
        case nlohmann::json::value_t::object:
          to.type = goal_node::kind::map;
          for (const auto& [key, value] : from.items()) {
            to.entries.push_back({key, {}, {}});
            if (!walk(value, to.entries.back().value, depth + 1))
              return false;
          }
          return true;
        case nlohmann::json::value_t::array:
          to.type = goal_node::kind::list;
          for (const auto& value : from) {
            to.items.emplace_back();
            if (!walk(value, to.items.back(), depth + 1))
              return false;
          }
          return true;
        case nlohmann::json::value_t::string:
          to.type = goal_node::kind::scalar;
          to.quoted = true;
          to.text = from.get_ref<const std::string&>();
          return is_valid_utf8(to.text);
        case nlohmann::json::value_t::boolean:
        case nlohmann::json::value_t::number_integer:
        case nlohmann::json::value_t::number_unsigned:
        case nlohmann::json::value_t::number_float:
          to.type = goal_node::kind::scalar;
          to.text = from.dump();
          return true;
        default: return true; // null, binary and discarded: no value
      }
    }
  };
  return walker{}.walk(j, out, 0);
}

} // namespace flywheel
