#include "actors/data_steward/data_file.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <unordered_set>

namespace flywheel {
namespace {

constexpr std::size_t first_bytes = 64 * limits::kib, header_bytes_max = 4 * limits::mib;

error unreadable(const std::string& path, std::string what, std::string hint = {}) {
  return {errc::invalid_format, std::move(what), path, std::move(hint)};
}

status refuse_other_encodings(const std::string& path, std::string_view text) {
  const std::string hint = "convert it first: iconv -f UTF-16 -t UTF-8 FILE > OTHER";
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff"))
    return unreadable(path, "it is UTF-16 text; only UTF-8 is read", hint);
  const auto some = text.substr(0, 512);
  const auto nuls = static_cast<std::size_t>(std::count(some.begin(), some.end(), '\0'));
  if (some.size() >= 16 && nuls * 3 > some.size())
    return unreadable(path, "it is no UTF-8 text (every other byte is NUL)", hint);
  for (const auto& [magic, name] : {std::pair<std::string_view, const char*>{"PAR1", "a Parquet file"},
                                    {"PK\x03\x04", "a ZIP archive or spreadsheet"},
                                    {"BZh", "a bzip2 file"},
                                    {"\xfd" "7zXZ", "an xz file"},
                                    {"SQLite format 3", "a SQLite database"}})
    if (text.starts_with(magic))
      return error{errc::unsupported, std::string{"it is "} + name, path, "export it as CSV or JSON lines (gzip and zstd are fine)"};
  return success();
}

/// Where the first record ends (its newline), `nowhere` if the text ends before.
std::size_t end_of_record(std::string_view text) {
  bool open = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"')
      open = !open;
    else if (text[i] == '\n' && !open)
      return i;
  }
  return nowhere;
}

std::vector<std::string> split_header(std::string_view line, char separator) {
  std::vector<std::string> names;
  std::string name;
  bool open = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"') {
      if (open && i + 1 < line.size() && line[i + 1] == '"')
        name += line[++i];
      else
        open = !open;
    } else if (c == separator && !open) {
      names.push_back(std::exchange(name, {}));
    } else {
      name += c;
    }
  }
  names.push_back(std::move(name));
  for (auto& n : names)
    n = std::string{trim(n)};
  return names;
}

char guess_separator(std::string_view header) {
  std::array<std::pair<char, std::size_t>, 4> counts{{{',', 0}, {';', 0}, {'\t', 0}, {'|', 0}}};
  bool open = false;
  for (const char c : header) {
    open = open != (c == '"');
    for (auto& [separator, count] : counts)
      count += !open && c == separator;
  }
  if (counts[0].second > 0)
    return ',';
  const auto most = std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return most->second > 0 ? most->first : ',';
}

status check_names(const std::string& path, const std::vector<std::string>& names) {
  if (names.size() > limits::data_columns_max)
    return error{errc::too_large, std::to_string(names.size()) + " columns; at most " + std::to_string(limits::data_columns_max), path};
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string place = path + ":1, column " + std::to_string(i + 1);
    if (names[i].empty())
      return error{errc::invalid_format, "the column has no name", place, "give every column of the header a name"};
    if (!is_valid_utf8(names[i]) || names[i].find('\0') != std::string::npos)
      return error{errc::invalid_format, "the column's name '" + printable(names[i], 60) + "' is no UTF-8 text", place};
    if (names[i].size() > 1024)
      return error{errc::invalid_format, "the column's name has " + std::to_string(names[i].size()) + " bytes", place,
                   "is this a file without a header line?"};
    if (!seen.insert(names[i]).second)
      return error{errc::invalid_format, "the column '" + printable(names[i], 60) + "' is there twice", place,
                   "rename one of them"};
  }
  return success();
}

} // namespace

result<data_file> open_data_file(const data_spec& data, hasher* hash) {
  const std::string& path = data.source;
  data_file file;
  FLYWHEEL_TRY(file.source, open_source(path, hash));
  std::string text;
  bool ended = false;
  const auto read_more = [&](std::size_t bytes) -> status {
    const std::size_t before = text.size();
    text.resize(before + bytes);
    FLYWHEEL_TRY(const std::size_t got, file.source->read(text.data() + before, bytes));
    text.resize(before + got);
    ended = got < bytes;
    return success();
  };
  FLYWHEEL_CHECK(read_more(first_bytes));
  if (text.empty())
    return unreadable(path, "the file is empty", "it needs a header line and rows");
  FLYWHEEL_CHECK(refuse_other_encodings(path, text));
  if (text.starts_with("\xef\xbb\xbf"))
    text.erase(0, 3);

  const auto first = text.find_first_not_of(" \t\r\n");
  const bool object = first != std::string::npos && text[first] == '{';
  if (data.format == "jsonl" || (data.format == "auto" && object)) {
    file.format = record_format::jsonl;
    file.rest = std::move(text);
    return file;
  }
  std::size_t end = end_of_record(text);
  while (end == nowhere && !ended && text.size() < header_bytes_max) {
    FLYWHEEL_CHECK(read_more(text.size()));
    end = end_of_record(text);
  }
  if (end == nowhere && !ended)
    return unreadable(path + ":1", "the header line does not end within " + format_bytes(header_bytes_max));
  if (text.find('\r') < text.size() && text.find('\n') == std::string::npos && text.find('\r') + 1 < text.size())
    return unreadable(path, "its lines end in CR alone", "convert it first: tr '\\r' '\\n' < FILE > OTHER");
  file.header = text.substr(0, end);
  if (file.header.ends_with('\r'))
    file.header.pop_back();
  file.rest = end == nowhere ? std::string{} : text.substr(end + 1);
  file.header_lines = 1 + static_cast<std::uint64_t>(std::count(file.header.begin(), file.header.end(), '\n'));
  if (trim(file.header).empty())
    return unreadable(path + ":1", "the first line is empty", "it must be the header with the columns' names");
  file.separator = guess_separator(file.header);
  file.names = split_header(file.header, file.separator);
  FLYWHEEL_CHECK(check_names(path, file.names));
  return file;
}

result<record_layout> lay_out(const data_file& file, const compiled_contract& contract, const std::string& path) {
  record_layout layout;
  layout.format = file.format;
  layout.separator = file.separator;
  layout.header = file.header;
  layout.names = file.names;
  if (file.format == record_format::jsonl)
    for (const auto& c : contract.columns)
      layout.names.push_back(c.name);
  std::vector<std::string> absent;
  std::string hint;
  for (const auto& c : contract.columns) {
    const auto at = std::find(layout.names.begin(), layout.names.end(), c.name);
    layout.place.push_back(static_cast<std::int32_t>(at - layout.names.begin()));
    if (at == layout.names.end()) {
      absent.push_back("'" + printable(c.name, 60) + "'");
      if (const auto near = nearest(c.name, layout.names); hint.empty() && !near.empty())
        hint = "the file has '" + std::string{near} + "'; is that the one?";
    }
  }
  if (!absent.empty())
    return error{errc::invalid_data, (absent.size() == 1 ? "the contract's column " : "the contract's columns ") +
                                         join(absent, ", ") + (absent.size() == 1 ? " is" : " are") + " not in the file",
                 path + ":1", hint.empty() ? "the file's columns are " + printable(join(layout.names, ", "), 300) : hint};
  return layout;
}

} // namespace flywheel
