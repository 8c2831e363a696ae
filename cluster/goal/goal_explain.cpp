// What the field table says, for people (`flywheel explain`, docs/goal.md) and for editors (JSON Schema).
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_schema.hpp"

#include <algorithm>
#include <array>

namespace flywheel {
namespace {

using nlohmann::json;

// --- explain ---

/// "data.contract.columns[3].type" -> data, contract, columns, type. Indices, '[]' and '*' say which item, not which field.
std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  for (std::string_view p : split(path, '.')) {
    p = p.substr(0, p.find('['));
    if (!p.empty() && p != "*" && p.find_first_not_of("0123456789") != std::string_view::npos)
      parts.emplace_back(p);
  }
  return parts;
}

void list_paths(const schema_record& record, const std::string& prefix, std::vector<std::string>& out) {
  for (const schema_field& f : record.fields) {
    const std::string path = prefix + "." + std::string{f.key};
    out.push_back(path);
    if (f.of != nullptr && f.type != field_type::space)
      list_paths(*f.of, path, out);
  }
}

std::string type_line(const schema_field& f) { return (f.list ? "a list, each " : "") + type_text(f); }

/// Lines of at most 100 characters, indented.
std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out, line;
  const auto flush = [&] {
    if (!line.empty())
      out += std::string(indent, ' ') + line + "\n";
    line.clear();
  };
  for (const std::string_view word : split(text, ' ')) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > 100)
      flush();
    line += (line.empty() ? "" : " ") + std::string{word};
  }
  flush();
  return out;
}

void describe_children(const schema_record& record, std::string& out) {
  out += "\nFields:\n";
  std::size_t width = 0;
  for (const schema_field& f : record.fields)
    width = std::max(width, f.key.size());
  for (const schema_field& f : record.fields) {
    const std::string value = default_text(f, record);
    std::string line = std::string{f.key} + std::string(width - f.key.size() + 2, ' ') + std::string{f.help.substr(0, f.help.find(". ") + 1)};
    if (f.help.find(". ") == std::string_view::npos)
      line = std::string{f.key} + std::string(width - f.key.size() + 2, ' ') + std::string{f.help};
    out += "  " + line + (f.required ? " (required)" : value.empty() || value.size() > 40 ? "" : " (default " + value + ")") + "\n";
  }
}

std::string describe(const schema_field& f, const schema_record& owner, const std::string& path) {
  std::string out = path + "\n" + wrapped(f.help, 2) + "\n";
  out += "  type      " + type_line(f) + "\n";
  if (!f.unit.empty())
    out += "  unit      " + std::string{f.unit} + "\n";
  const std::string value = default_text(f, owner);
  if (f.required)
    out += "  required  yes\n";
  else if (f.type != field_type::record)
    out += "  default   " + (value.empty() ? "none" : value) + "\n";
  if (!f.example.empty())
    out += "  example   " + std::string{f.key} + ": " + std::string{f.example} + "\n";
  if (f.of != nullptr) {
    if (f.type == field_type::space) {
      out += "\n  Families and their parameters:\n";
      for (const auto& [family, parameters] : goal_vocabulary::known().families)
        out += wrapped(family + ": " + join(parameters, ", "), 4);
    }
    if (!f.of->shorthand.empty())
      out += "  short     a plain text stands for {" + std::string{f.of->shorthand} + ": ...}\n";
    describe_children(*f.of, out);
  }
  return out;
}

// --- JSON Schema ---

json bounded(const schema_field& f, const char* type) {
  json j{{"type", type}};
  const auto whole = [&](double x) { return f.type == field_type::integer ? json(static_cast<std::int64_t>(x)) : json(x); };
  if (f.min)
    j[f.above_min ? "exclusiveMinimum" : "minimum"] = whole(*f.min);
  if (f.max)
    j["maximum"] = whole(*f.max);
  return j;
}

json value_schema(const schema_field& f, const goal_vocabulary& vocabulary) {
  static const char* const percent = "^[+-]?[0-9.]+([eE][+-]?[0-9]+)? *%$";
  switch (f.type) {
    case field_type::label: return {{"type", {"string", "number", "boolean"}}};
    case field_type::name: return {{"type", "string"}, {"pattern", "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$"}};
    case field_type::regex: return {{"type", "string"}, {"format", "regex"}};
    case field_type::choice: return {{"enum", f.values}};
    case field_type::boolean: return {{"type", "boolean"}};
    case field_type::integer: return bounded(f, "integer");
    case field_type::number: return bounded(f, "number");
    case field_type::fraction:
    case field_type::percent: return {{"anyOf", {bounded(f, "number"), {{"type", "string"}, {"pattern", percent}}}}};
    case field_type::duration: return {{"type", "string"}, {"pattern", "^([0-9.]+(ns|us|ms|s|m|h|d) *)+$"}};
    case field_type::bytes:
      return {{"anyOf", {bounded(f, "integer"), {{"type", "string"}, {"pattern", "^[0-9.]+ *([KMGT]i?B|B)?$"}}}}};
    case field_type::family: {
      json names = json::array();
      for (const auto& [name, parameters] : vocabulary.families)
        names.push_back(name);
      return {{"enum", names}};
    }
    default: return f.required ? json{{"type", "string"}, {"minLength", 1}} : json{{"type", "string"}};
  }
}

json record_schema(const schema_record& record, const goal_vocabulary& vocabulary);

json field_schema(const schema_field& f, const schema_record& owner, const goal_vocabulary& vocabulary) {
  json j;
  switch (f.type) {
    case field_type::record:
      j = record_schema(*f.of, vocabulary);
      // The two short forms that the parser expands.
      if (f.key == "metric" || f.key == "contract")
        j = {{"anyOf", {std::move(j), {{"type", "string"}}}}};
      break;
    case field_type::records: {
      json item = record_schema(*f.of, vocabulary);
      if (!f.of->shorthand.empty())
        item = {{"anyOf", {std::move(item), {{"type", "string"}}}}};
      j = {{"type", "array"}, {"items", std::move(item)}};
      break;
    }
    case field_type::space: {
      json families = json::object();
      for (const auto& [family, parameters] : vocabulary.families) {
        json p = json::object();
        for (const std::string& name : parameters)
          p[name] = record_schema(*f.of, vocabulary);
        families[family] = {{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(p)}};
      }
      j = {{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(families)}};
      break;
    }
    default:
      j = value_schema(f, vocabulary);
      if (f.list)
        j = {{"type", "array"}, {"items", std::move(j)}};
      else if (is_optional(f, owner))
        j = {{"anyOf", {std::move(j), {{"type", "null"}}}}};
      if (!f.required && !is_optional(f, owner))
        j["default"] = leaf_json(f, f.at.leaf(owner.defaults));
      break;
  }
  j["description"] = f.help;
  return j;
}

json record_schema(const schema_record& record, const goal_vocabulary& vocabulary) {
  json properties = json::object(), required = json::array();
  for (const schema_field& f : record.fields) {
    properties[std::string{f.key}] = field_schema(f, record, vocabulary);
    if (f.required)
      required.push_back(f.key);
  }
  json j{{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
  if (!required.empty())
    j["required"] = std::move(required);
  return j;
}

// --- reference ---

std::string cell(std::string text) {
  std::string out;
  for (const char c : text)
    out += c == '|' ? std::string{"\\|"} : std::string{c};
  return out;
}

void reference(const schema_record& record, const std::string& path, std::string& out) {
  out += "\n### `" + (path.empty() ? std::string{"goal"} : path) + "`: " + std::string{record.title} + "\n\n";
  out += "| key | value | default | meaning |\n|---|---|---|---|\n";
  for (const schema_field& f : record.fields) {
    const std::string value = default_text(f, record);
    out += "| `" + std::string{f.key} + "` | " + cell(type_line(f)) + " | " +
           (f.required ? "**required**" : value.empty() ? "" : cell("`" + value + "`")) + " | " + cell(std::string{f.help}) +
           (f.example.empty() ? "" : cell(" Example: `" + std::string{f.key} + ": " + std::string{f.example} + "`")) + " |\n";
  }
  for (const schema_field& f : record.fields)
    if (f.of != nullptr)
      reference(*f.of, (path.empty() ? "" : path + ".") + std::string{f.key} + (f.type == field_type::records ? "[]" : f.type == field_type::space ? ".<family>.<parameter>" : ""), out);
}

// --- a contract as YAML for people ---

bool plain_is_safe(std::string_view s) {
  static constexpr std::array<std::string_view, 13> words{"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", "Null", "NULL", "nan"};
  const bool letters = !s.empty() && s.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == std::string_view::npos;
  return letters && s.front() != '.' && !(s.front() >= '0' && s.front() <= '9') && std::find(words.begin(), words.end(), lower(s)) == words.end();
}
/// JSON's quotes are YAML's double quotes; only what JSON leaves raw and YAML forbids needs more, and input is checked UTF-8.
std::string yaml_text(const std::string& s) {
  return plain_is_safe(s) ? s : json(s).dump(-1, ' ', false, json::error_handler_t::replace);
}
std::string yaml_value(const json& j) {
  if (j.is_string())
    return yaml_text(j.get_ref<const std::string&>());
  if (j.is_array()) {
    std::string out;
    for (const auto& x : j)
      out += (out.empty() ? "" : ", ") + yaml_value(x);
    return "[" + out + "]";
  }
  return j.is_number_float() ? shown_number(j.get<double>()) : j.dump();
}
std::string flow_record(const schema_record& record, void* owner) {
  std::string out;
  for (const schema_field& f : record.fields) {
    const json value = leaf_json(f, f.at.leaf(owner));
    if (f.required || value != leaf_json(f, f.at.leaf(record.defaults)))
      out += (out.empty() ? "" : ", ") + std::string{f.key} + ": " + yaml_value(value);
  }
  return "{" + out + "}";
}

} // namespace

result<std::string> explain_goal(std::string_view path) {
  std::vector<std::string> parts = parts_of(trim(path));
  if (!parts.empty() && parts.front() == "goal")
    parts.erase(parts.begin());
  const schema_record* record = &goal_record();
  const schema_field* field = nullptr;
  const schema_record* owner = nullptr;
  std::string shown = "goal";
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (field != nullptr && field->type == field_type::space) { // family, parameter, then the range's fields
      const auto& families = goal_vocabulary::known().families;
      const auto family = families.find(parts[i]);
      const bool parameter = i + 1 < parts.size() && family != families.end() &&
                             std::find(family->second.begin(), family->second.end(), parts[i + 1]) != family->second.end();
      if (family != families.end() && (i + 1 == parts.size() || parameter)) {
        shown += "." + parts[i];
        if (!parameter)
          return shown + "\n  The hyper-parameters of family " + family->first + ":\n" + wrapped(join(family->second, ", "), 4);
        shown += "." + parts[++i];
        field = nullptr;
        if (i + 1 == parts.size()) {
          std::string out = shown + "\n  Changes the range in which this hyper-parameter is searched.\n";
          describe_children(*record, out);
          return out;
        }
        continue;
      }
    }
    const schema_field* next = record == nullptr ? nullptr : record->find(parts[i]);
    if (next == nullptr) {
      std::vector<std::string> all{"goal"};
      list_paths(goal_record(), "goal", all);
      std::string wanted = "goal." + join(parts, ".");
      std::string near{nearest(wanted, all)};
      if (near.empty()) { // the last key may be right and the way to it wrong
        std::vector<std::string> same;
        for (const std::string& p : all)
          if (p.ends_with("." + parts.back()))
            same.push_back(p);
        if (same.empty()) { // or the last key is misspelt too
          std::vector<std::string> last;
          for (const std::string& p : all)
            last.push_back(p.substr(p.rfind('.') + 1));
          if (const std::string key{nearest(parts.back(), last)}; !key.empty() && std::count(last.begin(), last.end(), key) == 1)
            same.push_back(all[static_cast<std::size_t>(std::find(last.begin(), last.end(), key) - last.begin())]);
        }
        if (same.size() == 1)
          near = same.front();
      }
      std::vector<std::string> keys;
      if (record != nullptr)
        for (const schema_field& f : record->fields)
          keys.emplace_back(f.key);
      if (near.empty() && record != nullptr)
        if (const std::string_view k = nearest(parts[i], keys); !k.empty())
          near = shown + "." + std::string{k};
      return error{errc::not_found, "a goal has no field '" + printable(wanted, 100) + "'", {},
                   !near.empty() ? "did you mean '" + near + "'?"
                   : keys.empty() ? "'" + shown + "' has no fields below it"
                                  : "'" + shown + "' has: " + join(keys, ", ")};
    }
    owner = record;
    field = next;
    record = next->of;
    shown += "." + parts[i];
  }
  if (field != nullptr)
    return describe(*field, *owner, shown);
  std::string out = "goal\n  A goal says " + std::string{goal_record().title} + ". `flywheel run FILE` pursues it.\n";
  describe_children(goal_record(), out);
  out += "\nMore: flywheel explain goal.search.budget\n";
  return out;
}

nlohmann::json goal_json_schema(const goal_vocabulary& vocabulary) {
  json j = record_schema(goal_record(), vocabulary);
  j["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  j["title"] = "Flywheel goal";
  j["description"] = goal_record().title;
  return j;
}

std::string goal_reference_markdown() {
  std::string out;
  reference(goal_record(), "", out);
  return out;
}

std::string to_yaml(const data_contract& contract, std::string_view comment) {
  void* const owner = const_cast<data_contract*>(&contract); // only read, see goal_writer.cpp
  const schema_record& record = contract_record();
  std::string out;
  for (const std::string_view line : split(comment, '\n'))
    if (!comment.empty())
      out += "# " + printable(line, 200) + "\n";
  for (const schema_field& f : record.fields) {
    if (f.type == field_type::records) {
      if (f.at.size(owner) == 0)
        continue;
      out += std::string{f.key} + ":\n";
      for (std::size_t i = 0; i < f.at.size(owner); ++i)
        out += "  - " + flow_record(*f.of, f.at.item(owner, i)) + "\n";
      continue;
    }
    const json value = leaf_json(f, f.at.leaf(owner));
    if (value != leaf_json(f, f.at.leaf(record.defaults)))
      out += std::string{f.key} + ": " + yaml_value(value) + "\n";
  }
  return out.empty() ? "columns: []\n" : out;
}

} // namespace flywheel
