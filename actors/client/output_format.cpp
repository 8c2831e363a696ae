#include "actors/client/output_format.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <unistd.h>

namespace flywheel {
namespace {

using nlohmann::json;

constexpr std::size_t uncut = std::numeric_limits<std::size_t>::max();

std::string dump(const json& value, int indent = -1) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

const json* field(const json& record, const std::string& key) {
  if (!record.is_object())
    return nullptr;
  if (key.starts_with('/')) {
    const json::json_pointer pointer(key);
    return record.contains(pointer) ? &record.at(pointer) : nullptr;
  }
  const auto i = record.find(key);
  return i == record.end() ? nullptr : &*i;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return out;
}

std::string padded(std::string_view text, std::size_t width, bool right) {
  const std::size_t used = display_width(text);
  const std::string blanks(width > used ? width - used : 0, ' ');
  return right ? blanks + std::string(text) : std::string(text) + blanks;
}

/// True if a YAML reader takes the bare word for the same string, under YAML 1.1 and 1.2 alike.
bool is_plain_yaml(const std::string& text) {
  if (text.empty() || text.size() > 200)
    return false;
  const auto word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/'; };
  const auto inner = [&](char c) { return word(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ' '; };
  if (!word(text.front()) || text.back() == ' ' || !std::all_of(text.begin(), text.end(), inner))
    return false;
  constexpr std::array<std::string_view, 9> reserved{"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  return std::find(reserved.begin(), reserved.end(), lower(text)) == reserved.end();
}

std::string yaml_scalar(const json& value) {
  if (value.is_string())
    if (const auto& text = value.get_ref<const std::string&>(); is_plain_yaml(text))
      return text;
  if (value.is_number_float() && !std::isfinite(value.get<double>()))
    return std::isnan(value.get<double>()) ? ".nan" : value.get<double>() > 0 ? ".inf" : "-.inf";
  return dump(value); // JSON strings and numbers are YAML
}

void yaml_block(std::string& out, const json& value, std::size_t indent);

/// What follows "key:" or "-".
void yaml_child(std::string& out, const json& value, std::size_t indent, bool in_list) {
  if (value.is_structured() && !value.empty()) {
    if (in_list && value.is_object()) {
      std::string block;
      yaml_block(block, value, indent);
      out += ' ' + block.substr(indent); // the first key stands behind the dash
    } else {
      out += '\n';
      yaml_block(out, value, indent);
    }
  } else {
    out += ' ' + (value.is_structured() ? std::string(value.is_array() ? "[]" : "{}") : yaml_scalar(value)) + '\n';
  }
}

void yaml_block(std::string& out, const json& value, std::size_t indent) {
  const std::string blanks(indent, ' ');
  if (value.is_object())
    for (const auto& [key, child] : value.items()) {
      out += blanks + yaml_scalar(json(key)) + ':';
      yaml_child(out, child, indent + 2, false);
    }
  else if (value.is_array())
    for (const auto& child : value) {
      out += blanks + '-';
      yaml_child(out, child, indent + 2, true);
    }
}

bool is_leaf(const json& value) {
  return !value.is_structured() || value.empty() ||
         (value.is_array() && std::all_of(value.begin(), value.end(), [](const json& v) { return !v.is_structured(); }));
}

void print_fields(std::ostream& out, const json& record, const print_options& o, std::size_t indent) {
  const std::string blanks(indent, ' ');
  std::size_t widest = 0;
  for (const auto& [key, value] : record.items())
    if (is_leaf(value))
      widest = std::max(widest, display_width(printable(key)));
  for (const auto& [key, value] : record.items()) {
    const std::string name = printable(key);
    if (is_leaf(value)) {
      const std::string text = cell_text(value);
      out << blanks << painted(padded(name + ":", widest + 1, false), ink::dim, o.colour) << "  "
          << painted(text, ink_of_status(text), o.colour) << '\n';
      continue;
    }
    out << blanks << painted(name + ":", ink::bold, o.colour) << '\n';
    if (value.is_object()) {
      print_fields(out, value, o, indent + 2);
      continue;
    }
    for (const auto& item : value) {
      if (is_leaf(item)) {
        out << blanks << "  - " << cell_text(item) << '\n';
      } else if (item.is_object()) {
        out << blanks << "  -\n";
        print_fields(out, item, o, indent + 4);
      } else {
        out << blanks << "  - " << printable(dump(item), uncut) << '\n';
      }
    }
  }
}

void print_table(std::ostream& out, const std::vector<column_spec>& columns, const json& rows, const print_options& o) {
  if (rows.empty()) {
    out << o.empty << '\n';
    return;
  }
  std::vector<std::vector<std::string>> cells(rows.size() + 1);
  std::vector<std::size_t> widths(columns.size(), 0);
  for (std::size_t c = 0; c < columns.size(); ++c) {
    cells[0].push_back(upper(columns[c].title));
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const json* value = field(rows[r], columns[c].key);
      cells[r + 1].push_back(value ? cell_text(*value) : "-");
    }
    for (const auto& row : cells)
      widths[c] = std::max(widths[c], display_width(row[c]));
  }
  for (std::size_t r = 0; r < cells.size(); ++r) {
    std::string line;
    std::size_t used = 0;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const bool last = c + 1 == columns.size();
      std::string text = last && !columns[c].right ? cells[r][c] : padded(cells[r][c], widths[c], columns[c].right);
      if (o.width && used + display_width(text) > o.width)
        text = cut_to_width(text, o.width > used ? o.width - used : 0);
      used += display_width(text) + 2;
      const ink colour = r == 0 ? ink::bold : columns[c].status ? ink_of_status(cells[r][c]) : ink::plain;
      line += painted(text, colour, o.colour) + (last ? "" : "  ");
      if (o.width && used >= o.width)
        break;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  }
}

} // namespace

std::optional<output_style> output_style_from_name(std::string_view name) {
  constexpr std::array<std::string_view, 4> names{"table", "json", "yaml", "name"}; // in the order of output_style
  const auto i = std::find(names.begin(), names.end(), name);
  return i == names.end() ? std::nullopt : std::optional(static_cast<output_style>(i - names.begin()));
}

print_options print_options_for_stdout(output_style style, bool colour_refused) {
  const auto t = terminal_of(STDOUT_FILENO, colour_refused);
  return {.style = style, .colour = t.colour, .width = t.is_terminal ? t.columns : 0};
}

std::string cell_text(const json& value) {
  switch (value.type()) {
  case json::value_t::null:
  case json::value_t::discarded: return "-";
  case json::value_t::string: {
    const auto& text = value.get_ref<const std::string&>();
    return text.empty() ? "-" : printable(text, uncut);
  }
  case json::value_t::number_float: return format_number(value.get<double>());
  case json::value_t::boolean: return value.get<bool>() ? "yes" : "no";
  case json::value_t::array: {
    std::vector<std::string> parts;
    for (const auto& item : value)
      parts.push_back(cell_text(item));
    return parts.empty() ? "-" : join(parts, ", ");
  }
  default: return value.empty() ? "-" : printable(dump(value), uncut);
  }
}

std::string to_yaml(const json& value) {
  if (!value.is_structured() || value.empty())
    return (value.is_structured() ? std::string(value.is_array() ? "[]" : "{}") : yaml_scalar(value)) + '\n';
  std::string out;
  yaml_block(out, value, 0);
  return out;
}

ink ink_of_status(std::string_view status) {
  constexpr std::array<std::string_view, 10> good{"ok", "done", "pass", "passed", "succeeded", "serving", "champion", "approved", "intact", "completed"};
  constexpr std::array<std::string_view, 9> bad{"fail", "failed", "denied", "damaged", "rolled back", "error", "broken", "lost", "expired"};
  constexpr std::array<std::string_view, 7> open{"warn", "waiting", "inconclusive", "cancelled", "paused", "pruned", "quarantined"};
  const auto in = [&](const auto& words) { return std::find(words.begin(), words.end(), status) != words.end(); };
  return in(good) ? ink::green : in(bad) ? ink::red : in(open) ? ink::yellow : ink::plain;
}

void print_records(std::ostream& out, const std::vector<column_spec>& columns, const json& rows, const print_options& o) {
  switch (o.style) {
  case output_style::table: print_table(out, columns, rows, o); break;
  case output_style::json: out << dump(rows, 2) << '\n'; break;
  case output_style::yaml: out << to_yaml(rows); break;
  case output_style::name:
    for (const auto& row : rows)
      if (const json* name = field(row, o.name_key))
        out << cell_text(*name) << '\n';
    break;
  }
}

void print_record(std::ostream& out, const json& record, const print_options& o) {
  switch (o.style) {
  case output_style::table: print_fields(out, record, o, 0); break;
  case output_style::json: out << dump(record, 2) << '\n'; break;
  case output_style::yaml: out << to_yaml(record); break;
  case output_style::name:
    if (const json* name = field(record, o.name_key))
      out << cell_text(*name) << '\n';
    break;
  }
}

void print_error(std::ostream& err, const error& e, bool colour, output_style style) {
  if (style == output_style::json) {
    const json body{{"code", name_of(e.code)}, {"what", e.what}, {"where", e.where}, {"hint", e.hint}, {"exit_code", exit_code_of(e.code)}};
    err << dump(json{{"error", body}}) << '\n';
    return;
  }
  std::string line;
  if (!e.where.empty())
    line += printable(e.where, uncut) + ": ";
  // A wrong command line needs no sentence in front: what is wrong with it is the sentence.
  if (e.code != errc::invalid_argument)
    line += std::string(sentence_of(e.code)) + (e.what.empty() ? "" : ": ");
  line += e.what.empty() && e.code == errc::invalid_argument ? std::string(sentence_of(e.code)) : printable(e.what, uncut);
  err << painted("error:", ink::red, colour) << ' ' << line << '\n';
  if (!e.hint.empty())
    err << painted("  hint:", ink::yellow, colour) << ' ' << printable(e.hint, uncut) << '\n';
}

} // namespace flywheel
