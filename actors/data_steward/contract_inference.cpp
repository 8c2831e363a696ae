// infer_contract(): every cell of every column is tried as each type; what nearly all of them fit is proposed.

#include "actors/data_steward/cell_parsers.hpp"
#include "actors/data_steward/data_file.hpp"
#include "actors/data_steward/data_findings.hpp"
#include "actors/data_steward/file_check.hpp"
#include "actors/data_steward/jsonl_record.hpp"
#include "actors/data_steward/key_index.hpp"
#include "actors/data_steward/record_splitter.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <limits>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace flywheel {
namespace {

constexpr double misfits_max = 0.01;
constexpr std::size_t texts_kept = 2'000, values_drafted = 64;

/// What the cells of one column have been so far.
struct column_evidence {
  std::string name;
  std::uint64_t cells = 0, nulls = 0;
  std::uint64_t integers = 0, numbers = 0, booleans = 0, timestamps = 0;
  double min = std::numeric_limits<double>::infinity(), max = -min;
  std::unordered_map<std::string, std::uint64_t> texts;
  bool many_texts = false, repeated = false, leading_zero = false;
  std::array<std::string, 2> odd_number{};   ///< first texts that are no numbers
  std::uint64_t odd_row = 0;

  std::uint64_t present() const { return cells - nulls; }
};

class evidence_table {
public:
  evidence_table(const data_contract& c, const check_options& o) : contract_(c), options_(o) {}

  column_evidence& column_named(const std::string& name) {
    const auto [at, added] = index_.emplace(name, columns_.size());
    if (added) {
      columns_.emplace_back().name = name;
      // Small: a column that needs more memory to be proven unique is not proposed as a key.
      keys_.emplace_back(4 * limits::mib, options_.temporary.empty() ? std::filesystem::temp_directory_path() : options_.temporary);
    }
    return columns_[at->second];
  }
  status take_null(const std::string& name) {
    column_evidence& c = column_named(name);
    ++c.cells;
    ++c.nulls;
    return success();
  }
  status take(const std::string& name, std::string_view text, std::uint64_t row) {
    const std::size_t i = index_of(name);
    column_evidence& c = columns_[i];
    ++c.cells;
    if (std::find(contract_.null_tokens.begin(), contract_.null_tokens.end(), text) != contract_.null_tokens.end()) {
      ++c.nulls;
      return success();
    }
    if (const auto number = parse_number(text)) {
      ++c.numbers;
      c.integers += parse_integer(text).has_value();
      c.leading_zero |= text.size() > 1 && text[0] == '0' && text.find_first_not_of("0123456789") == std::string_view::npos;
      c.min = std::min(c.min, *number);
      c.max = std::max(c.max, *number);
    } else if (c.odd_number[0].empty()) {
      c.odd_number[0] = printable(text, 40);
      c.odd_row = row;
    }
    const std::string word = text.size() <= 5 ? lower(text) : std::string{};
    c.booleans += word == "true" || word == "false";
    if (text.size() >= 10 && text[4] == '-')
      c.timestamps += parse_timestamp(text).has_value();
    if (!c.many_texts && text.size() <= 256 && is_valid_utf8(text)) {
      ++c.texts[std::string{text}];
      if (c.texts.size() > texts_kept) {
        c.many_texts = true;
        c.texts.clear();
      }
    } else if (!c.many_texts) {
      c.many_texts = true;
      c.texts.clear();
    }
    if (!c.repeated) {
      const XXH128_hash_t h = XXH3_128bits(text.data(), text.size());
      FLYWHEEL_TRY(const bool there, keys_[i].insert(key_value{h.low64, h.high64}, {row, 0}));
      c.repeated = there;
      if (there)
        keys_[i] = key_index(0, {});
    }
    return success();
  }
  status finish(std::uint64_t rows) {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      column_evidence& c = columns_[i];
      if (!c.repeated) {
        FLYWHEEL_TRY(const auto late, keys_[i].finish());
        c.repeated = !late.empty();
      }
      c.nulls += rows - std::min(rows, c.cells); // JSON lines may lack a key
      c.cells = std::max(c.cells, rows);
    }
    return success();
  }
  std::vector<column_evidence>& columns() { return columns_; }

private:
  std::size_t index_of(const std::string& name) {
    const auto at = index_.find(name);
    if (at != index_.end())
      return at->second;
    column_named(name);
    return columns_.size() - 1;
  }

  const data_contract& contract_;
  const check_options& options_;
  std::vector<column_evidence> columns_;
  std::vector<key_index> keys_;
  std::unordered_map<std::string, std::size_t> index_;
};

bool nearly_all(std::uint64_t fitting, std::uint64_t of) {
  return of > 0 && static_cast<double>(of - fitting) <= misfits_max * static_cast<double>(of);
}

std::string choose_type(const column_evidence& c) {
  const std::uint64_t n = c.present();
  if (n == 0)
    return "text";
  if (!c.leading_zero && nearly_all(c.integers, n))
    return "integer";
  if (!c.leading_zero && nearly_all(c.numbers, n))
    return "number";
  if (nearly_all(c.timestamps, n))
    return "timestamp";
  if (nearly_all(c.booleans, n))
    return "boolean";
  const bool few = !c.many_texts && (c.texts.size() <= 50 || c.texts.size() * 20 <= n);
  return few ? "category" : "text";
}

/// A YAML scalar that reads back as the same text, whatever it looks like.
std::string yaml_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      constexpr std::string_view digits = "0123456789abcdef";
      out += "\\x";
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[static_cast<unsigned char>(c) & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

void draft_column(const column_evidence& e, data_contract& contract, std::string& yaml) {
  column_rule c;
  c.name = e.name;
  c.type = choose_type(e);
  c.nullable = e.nulls > 0;
  std::string comment;
  const auto say = [&](const std::string& text) { comment += (comment.empty() ? "" : "; ") + text; };
  if (e.present() == 0)
    say("empty in every row");
  else if (e.nulls > 0)
    say(std::to_string(e.nulls) + " of " + std::to_string(e.cells) + " are null");
  const bool numeric = c.type == "integer" || c.type == "number";
  if (numeric) {
    say("seen " + format_number(e.min) + " to " + format_number(e.max));
    if (e.min >= 0)
      c.min = 0;
    const std::uint64_t fitting = c.type == "integer" ? e.integers : e.numbers;
    if (fitting < e.present())
      say(std::to_string(e.present() - fitting) + " cells are no " + c.type +
          (e.odd_number[0].empty() ? "" : ", first '" + e.odd_number[0] + "' in row " + std::to_string(e.odd_row)));
  }
  if (c.type == "category" && e.texts.size() <= values_drafted) {
    for (const auto& [text, n] : e.texts)
      c.values.push_back(text);
    std::sort(c.values.begin(), c.values.end());
    if (e.texts.size() <= 6)
      for (const auto& v : c.values)
        say("'" + printable(v, 20) + "' " + std::to_string(e.texts.at(v)));
  } else if (c.type == "category") {
    say(std::to_string(e.texts.size()) + " values");
  }
  if (e.leading_zero)
    say("digits with leading zeros are names, not numbers");
  if (!e.repeated && e.nulls == 0 && e.cells >= 20 && c.type != "number")
    say("different in every row: a candidate for key");
  yaml += "  - {name: " + yaml_text(c.name) + ", type: " + c.type;
  if (c.nullable)
    yaml += ", nullable: true";
  if (c.min)
    yaml += ", min: " + format_number(*c.min);
  if (!c.values.empty()) {
    yaml += ", values: [";
    for (std::size_t i = 0; i < c.values.size(); ++i)
      yaml += (i == 0 ? "" : ", ") + yaml_text(c.values[i]);
    yaml += "]";
  }
  yaml += "}" + (comment.empty() ? "" : "  # " + one_line(printable(comment, 300))) + "\n";
  contract.columns.push_back(std::move(c));
}

} // namespace

result<contract_draft> infer_contract(const data_spec& data, const check_options& options, const std::atomic<bool>& stop) {
  FLYWHEEL_TRY(data_file file, open_data_file(data, nullptr));
  const structure_scanner& scanner = options.portable ? plain_scanner() : best_scanner();
  record_splitter splitter(*file.source, file.format, file.separator, {options.block_bytes, options.record_bytes_max}, scanner);
  splitter.put_back(std::exchange(file.rest, {}));
  evidence_table evidence(data.contract, options);
  for (const auto& name : file.names)
    evidence.column_named(name);
  record_block block;
  std::vector<std::uint32_t> separators;
  std::vector<std::pair<std::string, std::optional<std::string>>> pairs;
  std::string scratch;
  std::uint64_t rows = 0;
  std::uint64_t misshapen = 0;
  for (;;) {
    FLYWHEEL_TRY(const bool more, splitter.next(block));
    if (!more)
      break;
    if (stop)
      return error{errc::cancelled, "the look at " + data.source + " was stopped"};
    if (options.progress)
      options.progress(file.source->position(), file.source->size());
    const std::string_view text{block.text(), block.size};
    misshapen += block.broken.size();
    if (file.format == record_format::jsonl) {
      for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = text.find('\n', begin);
        const std::string_view line = trim(text.substr(begin, end - begin));
        begin = end + 1;
        if (line.empty())
          continue;
        if (jsonl_record::read_pairs(line, pairs)) {
          ++misshapen;
          continue;
        }
        ++rows;
        for (const auto& [name, value] : pairs)
          FLYWHEEL_CHECK(value ? evidence.take(name, *value, rows) : evidence.take_null(name));
        if (evidence.columns().size() > limits::data_columns_max)
          return error{errc::too_large, "more than " + std::to_string(limits::data_columns_max) + " different keys", data.source};
      }
      continue;
    }
    separators.resize(block.size + 66);
    const auto index = scanner.index(block.text(), block.size, file.separator, separators.data());
    for (std::size_t k = 0; k < index.count;) {
      const std::size_t first = k;
      while (text[separators[k]] != '\n')
        ++k;
      const std::size_t begin = first == 0 ? 0 : separators[first - 1] + 1, end = separators[k++];
      if (k - first != file.names.size()) {
        misshapen += end > begin + 1;
        continue;
      }
      std::string_view line = text.substr(begin, end - begin);
      if (line.ends_with('\r'))
        line.remove_suffix(1);
      if (line == file.header)
        continue;
      ++rows;
      for (std::size_t i = first; i < k; ++i) {
        const std::size_t from = i == first ? begin : separators[i - 1] + 1;
        std::string_view cell = text.substr(from, separators[i] - from);
        if (i + 1 == k && cell.ends_with('\r'))
          cell.remove_suffix(1);
        if (cell.size() >= 2 && cell.front() == '"') {
          cell = cell.substr(1, cell.size() - 2);
          if (cell.find('"') != std::string_view::npos) {
            scratch.clear();
            for (std::size_t at = 0; at < cell.size(); ++at) {
              scratch += cell[at];
              at += cell[at] == '"';
            }
            cell = scratch;
          }
        }
        FLYWHEEL_CHECK(evidence.take(file.names[i - first], cell, rows));
      }
    }
  }
  FLYWHEEL_CHECK(evidence.finish(rows));

  contract_draft draft;
  draft.rows = rows;
  draft.contract = data.contract;
  draft.contract.columns.clear();
  std::string columns;
  for (const column_evidence& e : evidence.columns()) {
    draft_column(e, draft.contract, columns);
    if (!e.many_texts && draft.contract.columns.back().type == "category") {
      std::vector<std::pair<std::string, std::uint64_t>> counts(e.texts.begin(), e.texts.end());
      for (auto& f : find_spellings(e.name, counts))
        draft.findings.push_back(std::move(f));
    }
  }
  if (draft.contract.columns.empty())
    return error{errc::invalid_format, "no row of the file could be read", data.source};
  draft.yaml = "# A draft from " + std::to_string(rows) + " rows of " + one_line(printable(data.source, 200)) + ".\n" +
               "# Read it before you use it: it says what the data is, not what it should be.\n" +
               (misshapen > 0 ? "# " + std::to_string(misshapen) + " rows could not be read and are not counted.\n" : "") +
               "columns:\n" + columns + "# key: [column]           # columns that identify a row\n" +
               "rows_min: " + std::to_string(std::max<std::uint64_t>(1, rows / 2)) + "  # half of what is there now\n" +
               "bad_rows_max: 1%\n";
  for (const auto& f : draft.findings)
    draft.yaml += "# " + one_line(f.text) + "\n";
  return draft;
}

} // namespace flywheel
