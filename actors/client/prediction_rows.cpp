#include "actors/client/prediction_rows.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

#include <charconv>
#include <cmath>
#include <iostream>
#include <iterator>

namespace flywheel {

using nlohmann::json;

namespace {

constexpr std::size_t input_bytes_max = 64u << 20;

const model_input* find_input(const model_signature& s, std::string_view name) {
  for (const auto& i : s.inputs)
    if (i.name == name)
      return &i;
  return nullptr;
}

json empty_row(const model_signature& s) {
  json row = json::object();
  for (const auto& i : s.inputs)
    row[i.name] = nullptr;
  return row;
}

/// Text as the input's type; an empty text is missing.
result<json> value_of(const model_input& input, std::string_view text, std::string where) {
  if (text.empty())
    return json(nullptr);
  if (input.type == column_type::categorical)
    return json(text);
  double number = 0;
  const auto trimmed = trim(text);
  const auto [end, code] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), number);
  if (code != std::errc{} || end != trimmed.data() + trimmed.size() || !std::isfinite(number))
    return error{errc::invalid_argument, input.name + " must be a number, not '" + printable(text, 40) + "'",
                 std::move(where)};
  return json(number);
}

/// One CSV record starting at `at` (RFC 4180); moves `at` behind its line end.
result<std::vector<std::string>> next_record(std::string_view text, std::size_t& at, const std::string& where) {
  std::vector<std::string> cells{""};
  bool quoted = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c != '"')
        cells.back() += c;
      else if (at + 1 < text.size() && text[at + 1] == '"')
        cells.back() += text[++at];
      else
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == ',') {
      cells.emplace_back();
    } else if (c == '\n') {
      ++at;
      return cells;
    } else if (c != '\r') {
      cells.back() += c;
    }
  }
  if (quoted)
    return error{errc::invalid_format, "a quote is never closed", where};
  return cells;
}

result<json> rows_of_csv(std::string_view text, std::string_view name, const model_signature& s) {
  json rows = json::array();
  std::size_t at = text.starts_with("\xef\xbb\xbf") ? 3 : 0;
  FLYWHEEL_TRY(const auto header, next_record(text, at, std::string{name} + ":1"));
  for (std::size_t line = 2; at < text.size(); ++line) {
    const auto where = std::string{name} + ": record " + std::to_string(line - 1);
    FLYWHEEL_TRY(const auto cells, next_record(text, at, where));
    if (cells.size() == 1 && cells[0].empty())
      continue;
    if (cells.size() != header.size())
      return error{errc::invalid_format, std::to_string(cells.size()) + " cells, but the header has " +
                                             std::to_string(header.size()), where};
    auto row = empty_row(s);
    for (std::size_t i = 0; i < cells.size(); ++i)
      if (const auto* input = find_input(s, header[i])) {
        FLYWHEEL_TRY(row[header[i]], value_of(*input, cells[i], where));
      }
    rows.push_back(std::move(row));
  }
  return rows;
}

result<json> row_of_object(const json& object, const std::string& where, const model_signature& s) {
  if (!object.is_object())
    return error{errc::invalid_format, "a row must be an object {\"name\": value, ...}", where};
  auto row = empty_row(s);
  for (auto& [key, value] : row.items())
    if (const auto i = object.find(key); i != object.end())
      value = *i;
  return row;
}

} // namespace

result<json> row_of_assignments(const std::vector<std::string>& words, const model_signature& signature) {
  auto row = empty_row(signature);
  for (const auto& word : words) {
    const auto equals = word.find('=');
    const auto name = word.substr(0, equals);
    const auto* input = equals == std::string::npos ? nullptr : find_input(signature, name);
    if (input == nullptr) {
      std::vector<std::string> names;
      for (const auto& i : signature.inputs)
        names.push_back(i.name);
      const auto near = nearest(name, names);
      return error{errc::invalid_argument, "'" + printable(name, 80) + "' is not an input of this model", word,
                   near.empty() ? "the inputs are " + join(names, ", ") : "did you mean " + std::string{near} + "?"};
    }
    FLYWHEEL_TRY(row[name], value_of(*input, std::string_view{word}.substr(equals + 1), word));
  }
  return row;
}

result<json> rows_of_text(std::string_view text, std::string_view name, const model_signature& signature) {
  const auto start = trim(text);
  if (start.empty())
    return error{errc::invalid_format, "no rows", std::string{name}};
  json rows = json::array();
  if (start.front() == '[') {
    const auto list = json::parse(start, nullptr, false);
    if (!list.is_array())
      return error{errc::invalid_format, "not a JSON array of rows", std::string{name}};
    for (std::size_t i = 0; i < list.size(); ++i) {
      FLYWHEEL_TRY(auto row, row_of_object(list[i], std::string{name} + ": row " + std::to_string(i + 1), signature));
      rows.push_back(std::move(row));
    }
    return rows;
  }
  if (start.front() != '{')
    return rows_of_csv(text, name, signature);
  if (const auto one = json::parse(start, nullptr, false); one.is_object()) { // one object, perhaps over several lines
    FLYWHEEL_TRY(auto row, row_of_object(one, std::string{name}, signature));
    rows.push_back(std::move(row));
    return rows;
  }
  std::size_t number = 0;
  for (const auto line : split(text, '\n')) {
    ++number;
    if (trim(line).empty())
      continue;
    const auto where = std::string{name} + ":" + std::to_string(number);
    FLYWHEEL_TRY(auto row, row_of_object(json::parse(line, nullptr, false), where, signature));
    rows.push_back(std::move(row));
  }
  return rows;
}

result<json> rows_of_file(const std::string& file, const model_signature& signature) {
  if (file != "-") {
    FLYWHEEL_TRY(const auto text, read_file(file, input_bytes_max));
    return rows_of_text(text, file, signature);
  }
  std::string text;
  for (std::istreambuf_iterator<char> i{std::cin}, end; i != end; ++i) {
    if (text.size() == input_bytes_max)
      return error{errc::too_large, "more than " + format_bytes(input_bytes_max) + " on standard input"};
    text += *i;
  }
  return rows_of_text(text, "standard input", signature);
}

} // namespace flywheel
