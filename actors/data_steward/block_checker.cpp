#include "actors/data_steward/block_checker.hpp"

#include "actors/data_steward/cell_parsers.hpp"
#include "actors/data_steward/jsonl_record.hpp"
#include "cluster/base/assert.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace flywheel {
namespace {

static_assert(std::endian::native == std::endian::little, "digits are read eight at a time, first digit lowest");

constexpr double missing = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t value_bytes = 120, category_bytes_max = 256;
/// Of all columns of a thread together: a hostile file with 4,096 columns of free text must not fill the memory.
constexpr std::size_t texts_kept_max = 1'000'000;
constexpr std::uint32_t batch_rows = 256;

constexpr std::uint64_t zeros = 0x3030303030303030ULL;
constexpr double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8};

std::uint64_t load8(const char* text) noexcept {
  std::uint64_t word;
  std::memcpy(&word, text, 8);
  return word;
}

/// The last `size` (1 to 8) bytes before `end`, the bytes in front of them as '0'. Reads eight bytes before `end`.
std::uint64_t load_digits(const char* end, std::size_t size) noexcept {
  const std::uint64_t keep = ~std::uint64_t{0} << (8 * (8 - size));
  return (load8(end - 8) & keep) | (zeros & ~keep);
}

bool all_digits(std::uint64_t word) noexcept {
  return ((word & 0xf0f0f0f0f0f0f0f0ULL) | (((word + 0x0606060606060606ULL) & 0xf0f0f0f0f0f0f0f0ULL) >> 4)) ==
         0x3333333333333333ULL;
}

/// Eight digits, first one lowest, to a number: pairs, then fours, then all, three multiplications in all.
std::uint64_t digits_to_number(std::uint64_t word) noexcept {
  word -= zeros;
  word = word * 10 + (word >> 8);
  return (((word & 0x000000ff000000ffULL) * 0x000f424000000064ULL) +
          (((word >> 16) & 0x000000ff000000ffULL) * 0x0000271000000001ULL)) >> 32;
}

/// The first byte that is '.', as bit 7 of that byte; exact for the lowest one, which is all that is used.
std::uint64_t find_point(std::uint64_t word) noexcept {
  const std::uint64_t x = word ^ 0x2e2e2e2e2e2e2e2eULL;
  return (x - 0x0101010101010101ULL) & ~x & 0x8080808080808080ULL;
}

/// Stands for null in the arena of JSON cells: no text is this, because it is no UTF-8.
constexpr std::string_view jsonl_null{"\xff"};

} // namespace

block_checker::block_checker(const compiled_contract& contract, const record_layout& layout,
                             std::size_t cell_bytes_max, const structure_scanner& scanner)
    : contract_(contract), layout_(layout), cell_bytes_max_(cell_bytes_max), scanner_(scanner),
      width_(layout.names.size()), exact_(contract.columns.size()), state_(contract.columns.size()) {
  if (!contract.key.empty())
    key_sets_.push_back(contract.key);
  for (const std::size_t i : contract.unique)
    key_sets_.push_back({i});
  for (const auto& set : key_sets_)
    for (const std::size_t i : set)
      exact_[i] = contract.columns[i].type == cell_type::integer;
  for (std::size_t i = 0; i < state_.size(); ++i) {
    category_dictionary& d = state_[i].dictionary;
    if (!is_coded(contract.columns[i].type))
      continue;
    for (const auto& token : contract.null_tokens)
      if (d.find(token) == code_absent)
        d.add_verdict(token, code_null);
    if (contract.columns[i].type == cell_type::boolean) {
      d.add_category("false");
      d.add_category("true");
    }
  }
}

std::string_view block_checker::cell(const run& r, std::uint32_t row, std::size_t place) const noexcept {
  const std::uint32_t* s = separators_.data() + 1 + r.first_separator + row * width_ + place;
  const std::uint32_t begin = s[-1] + 1;
  std::uint32_t end = s[0];
  if (place + 1 == width_ && end > begin && text_[end - 1] == '\r')
    --end;
  return {text_ + begin, end - begin};
}

std::string_view block_checker::content(std::string_view cell) {
  if (layout_.format != record_format::csv || cell.size() < 2 || cell.front() != '"')
    return cell;
  cell = cell.substr(1, cell.size() - 2);
  std::size_t pair = cell.find('"');
  if (pair == std::string_view::npos)
    return cell;
  scratch_.clear();
  for (; pair != std::string_view::npos; pair = cell.find('"')) {
    scratch_.append(cell.substr(0, pair + 1));
    cell.remove_prefix(std::min(cell.size(), pair + 2));
  }
  scratch_.append(cell);
  return scratch_;
}

bool block_checker::is_null(std::string_view content) const noexcept {
  return contract_.is_null_token(content) || (layout_.format == record_format::jsonl && content == jsonl_null);
}

block_checker::cell_place block_checker::place_of(const run& r, std::uint32_t row) const noexcept {
  const std::uint32_t record = r.first_record + row;
  const std::uint32_t offset = layout_.format == record_format::jsonl
                                   ? record_offsets_[record]
                                   : separators_[r.first_separator + row * width_] + 1;
  return {r.first_slot + row, record, offset};
}

std::string block_checker::text_of(std::uint32_t slot, std::size_t column) {
  for (const run& r : runs_)
    if (slot >= r.first_slot && slot - r.first_slot < r.rows)
      return printable(content(cell(r, slot - r.first_slot, static_cast<std::size_t>(layout_.place[column]))), value_bytes);
  return {};
}

void block_checker::violate(std::size_t column, const cell_place& at, std::string_view rule, std::string_view value,
                            checked_block& out) {
  out.bad[at.slot] = 1;
  out.violations.push_back(
      {at.record, at.offset, 0, static_cast<std::int32_t>(column), rule, printable(value, value_bytes)});
}

void block_checker::violate_record(std::uint32_t record, std::uint32_t offset, std::string_view rule, std::string value,
                                   checked_block& out) {
  out.violations.push_back({record, offset, 0, -1, rule, std::move(value)});
}

void block_checker::take_null(std::size_t column, const cell_place& at, checked_block& out) {
  if (contract_.columns[column].nullable)
    state_[column].null_slots.push_back(at.slot);
  else
    violate(column, at, "null", "", out);
}

// ---- from bytes to records ------------------------------------------------------------------------------------------

/// CSV: which records have one cell a column. Usually all, and then this is one look at each record's last separator.
void block_checker::find_runs(const record_block& block, const separator_index& index, checked_block& out) {
  const char* text = block.text();
  const std::uint32_t* s = separators_.data() + 1;
  const auto width = static_cast<std::uint32_t>(width_);
  const auto count = static_cast<std::uint32_t>(index.count);
  const std::string& header = layout_.header;
  const std::uint64_t header8 = header.size() >= 8 ? load8(header.data()) : 0;
  const auto may_be_header = [&](std::uint32_t begin) { return header.size() < 8 || load8(text + begin) == header8; };
  const auto is_header = [&](std::uint32_t begin, std::uint32_t end) {
    std::string_view line{text + begin, end - begin};
    if (line.ends_with('\r'))
      line.remove_suffix(1);
    return !header.empty() && line == header;
  };

  if (index.count == index.records * width_) {
    bool regular = true;
    std::uint32_t begin = 0;
    for (std::uint32_t k = width - 1; k < count && regular; k += width) {
      regular = text[s[k]] == '\n' && !(may_be_header(begin) && is_header(begin, s[k]));
      begin = s[k] + 1;
    }
    if (regular) {
      out.records = out.slots = static_cast<std::uint32_t>(index.records);
      if (out.records > 0)
        runs_.push_back({0, out.records, 0, 0});
      return;
    }
  }

  run current{0, 0, 0, 0};
  std::uint32_t record = 0, slots = 0;
  for (std::uint32_t k = 0; k < count;) {
    const std::uint32_t begin = k == 0 ? 0 : s[k - 1] + 1, first = k;
    while (text[s[k]] != '\n')
      ++k;
    const std::uint32_t end = s[k++], cells = k - first;
    const bool blank = width > 1 && (end == begin || (end == begin + 1 && text[begin] == '\r'));
    if (cells == width && !is_header(begin, end)) {
      if (current.rows == 0)
        current = {first, 0, record, slots};
      ++current.rows;
      ++slots;
      ++record;
      continue;
    }
    if (current.rows > 0)
      runs_.push_back(std::exchange(current, {}));
    if (blank)
      continue; // an empty line between records is no record
    if (cells == width)
      violate_record(record++, begin, "header", "the header is repeated", out);
    else
      violate_record(record++, begin, "columns", std::to_string(cells) + (cells == 1 ? " cell, " : " cells, ") +
                                                     std::to_string(width) + " expected", out);
  }
  if (current.rows > 0)
    runs_.push_back(current);
  out.records = record;
  out.slots = slots;
}

/// JSON lines: cells are rewritten into an arena with the separators that the columns' checks expect.
void block_checker::transcode_jsonl(const record_block& block, checked_block& out) {
  const std::string_view text{block.text(), block.size};
  arena_.assign(scan_padding, ' ');
  record_offsets_.clear();
  separators_.assign(1, std::uint32_t{0} - 1);
  std::uint32_t record = 0, slot = 0;
  jsonl_record cells(layout_.names);
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    const std::string_view line = trim(text.substr(begin, end - begin));
    const auto offset = static_cast<std::uint32_t>(begin);
    begin = end + 1;
    if (line.empty())
      continue;
    record_offsets_.push_back(offset);
    if (const auto broken = cells.parse(line)) {
      violate_record(record++, offset, broken->rule, printable(broken->what, value_bytes), out);
      continue;
    }
    if (runs_.empty() || runs_.back().first_record + runs_.back().rows != record)
      runs_.push_back({static_cast<std::uint32_t>(separators_.size() - 1), 0, record, slot});
    for (std::size_t i = 0; i < width_; ++i) {
      arena_.append(cells.is_null(i) ? jsonl_null : cells.text(i));
      separators_.push_back(static_cast<std::uint32_t>(arena_.size() - scan_padding));
      arena_ += '\n';
    }
    ++runs_.back().rows;
    ++record;
    ++slot;
  }
  arena_.append(scan_padding, ' ');
  text_ = arena_.data() + scan_padding;
  out.records = record;
  out.slots = slot;
}

void block_checker::check(const record_block& block, checked_block& out) {
  out.violations.clear();
  runs_.clear();
  texts_kept_ = 0;
  for (column_state& s : state_) {
    s.null_slots.clear();
    texts_kept_ += s.dictionary.size();
  }
  bool encoding_doubtful = false;
  if (layout_.format == record_format::csv) {
    if (separators_.size() < block.size + 66)
      separators_.resize(block.size + 66);
    separators_[0] = std::uint32_t{0} - 1;
    text_ = block.text();
    const auto index = scanner_.index(text_, block.size, layout_.separator, separators_.data() + 1);
    out.lines = static_cast<std::uint32_t>(index.lines);
    find_runs(block, index, out);
    encoding_doubtful = index.nul || (index.non_ascii && !is_valid_utf8({text_, block.size}));
  } else {
    out.lines = static_cast<std::uint32_t>(std::count(block.text(), block.text() + block.size, '\n'));
    transcode_jsonl(block, out);
  }
  out.bad.assign(out.slots, 0);
  out.columns.resize(contract_.columns.size());
  for (std::size_t i = 0; i < contract_.columns.size(); ++i) {
    checked_column& c = out.columns[i];
    (is_coded(contract_.columns[i].type) ? c.codes.resize(out.slots) : c.numbers.resize(out.slots));
    if (exact_[i])
      c.integers.resize(out.slots);
    c.violations = 0;
  }
  if (encoding_doubtful || block.size > cell_bytes_max_)
    check_encoding(out);
  check_columns(out);
  check_rules(out);
  find_keys(out);
  finish(block, out);
}

/// NUL bytes, broken UTF-8, cells beyond the limit: rare, so looked for cell by cell only if the block may have some.
void block_checker::check_encoding(checked_block& out) {
  for (const run& r : runs_)
    for (std::uint32_t row = 0; row < r.rows; ++row)
      for (std::size_t i = 0; i < contract_.columns.size(); ++i) {
        const std::string_view text = cell(r, row, static_cast<std::size_t>(layout_.place[i]));
        if (text.size() > cell_bytes_max_)
          violate(i, place_of(r, row), "cell-size", text, out);
        else if (layout_.format == record_format::csv && text.find('\0') != std::string_view::npos)
          violate(i, place_of(r, row), "nul", text, out);
        else if (layout_.format == record_format::csv && !is_valid_utf8(text))
          violate(i, place_of(r, row), "encoding", text, out);
      }
}

/// In batches of rows that stay in the nearest cache while column after column goes over them.
void block_checker::check_columns(checked_block& out) {
  for (const run& r : runs_)
    for (std::uint32_t from = 0; from < r.rows; from += batch_rows) {
      const std::uint32_t to = std::min(r.rows, from + batch_rows);
      for (std::size_t i = 0; i < contract_.columns.size(); ++i)
        check_column(i, r, from, to, out);
    }
}

void block_checker::check_column(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to,
                                 checked_block& out) {
  switch (contract_.columns[column].type) {
  case cell_type::integer:
    exact_[column] ? integer_cells<true>(column, r, from, to, out) : integer_cells<false>(column, r, from, to, out);
    return check_range(column, r, from, to, out);
  case cell_type::number: number_cells(column, r, from, to, out); return check_range(column, r, from, to, out);
  case cell_type::timestamp: timestamp_cells(column, r, from, to, out); return check_range(column, r, from, to, out);
  case cell_type::boolean:
  case cell_type::category:
  case cell_type::text: return coded_cells(column, r, from, to, out);
  }
}

// ---- one column of a batch ------------------------------------------------------------------------------------------

template <bool Exact>
void block_checker::integer_cells(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to,
                                  checked_block& out) {
  const auto place = static_cast<std::size_t>(layout_.place[column]);
  const bool last = place + 1 == width_;
  const char* text = text_;
  const std::uint32_t* s = separators_.data() + 1 + r.first_separator + from * width_ + place;
  double* numbers = out.columns[column].numbers.data() + r.first_slot;
  std::int64_t* integers = Exact ? out.columns[column].integers.data() + r.first_slot : nullptr;
  for (std::uint32_t row = from; row < to; ++row, s += width_) {
    std::uint32_t begin = s[-1] + 1, end = s[0];
    if (last)
      end -= text[end - 1] == '\r';
    const bool negative = text[begin] == '-';
    begin += negative;
    const std::size_t size = end - begin;
    if (size - 1 < 8) [[likely]] {
      const std::uint64_t word = load_digits(text + end, size);
      if (all_digits(word)) [[likely]] {
        const auto value = static_cast<std::int64_t>(digits_to_number(word));
        const std::int64_t exact = negative ? -value : value;
        numbers[row] = static_cast<double>(exact);
        if constexpr (Exact)
          integers[row] = exact;
        continue;
      }
    }
    std::int64_t exact = 0;
    numbers[row] = slow_integer(column, r, row, exact, out);
    if constexpr (Exact)
      integers[row] = exact;
  }
}

void block_checker::number_cells(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to,
                                 checked_block& out) {
  const auto place = static_cast<std::size_t>(layout_.place[column]);
  const bool last = place + 1 == width_;
  const char* text = text_;
  const std::uint32_t* s = separators_.data() + 1 + r.first_separator + from * width_ + place;
  double* numbers = out.columns[column].numbers.data() + r.first_slot;
  for (std::uint32_t row = from; row < to; ++row, s += width_) {
    std::uint32_t begin = s[-1] + 1, end = s[0];
    if (last)
      end -= text[end - 1] == '\r';
    const bool negative = text[begin] == '-';
    begin += negative;
    const std::size_t size = end - begin;
    if (size - 1 < 8) [[likely]] {
      std::uint64_t word = load_digits(text + end, size);
      const std::uint64_t point = find_point(word);
      // Without a point the shift below would be by 64 bits; bit 63 set instead moves nothing into or out of the digits.
      const auto at = static_cast<unsigned>(std::countr_zero(point)) & 0x38U;
      const std::uint64_t has = point != 0 ? ~std::uint64_t{0} : 0;
      const std::uint64_t below = ((std::uint64_t{1} << at) - 1) & has;
      const std::uint64_t above = ~std::uint64_t{0} << at << 8;
      // The digits in front of the point move up over it, a '0' fills the gap.
      const std::uint64_t closed = ((word & below) << 8) | (word & above) | 0x30;
      word = has != 0 ? closed : word;
      if (all_digits(word) && (size > 1 || has == 0)) [[likely]] {
        const unsigned decimals = has != 0 ? 7 - at / 8 : 0;
        // An integer below 2^53 over a power of ten below 10^22: one correctly rounded division is the exact answer.
        const double value = static_cast<double>(static_cast<std::int64_t>(digits_to_number(word))) / powers[decimals];
        numbers[row] = negative ? -value : value;
        continue;
      }
    }
    numbers[row] = slow_number(column, r, row, out);
  }
}

void block_checker::timestamp_cells(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to,
                                    checked_block& out) {
  const auto place = static_cast<std::size_t>(layout_.place[column]);
  double* numbers = out.columns[column].numbers.data() + r.first_slot;
  for (std::uint32_t row = from; row < to; ++row) {
    const std::string_view text = content(cell(r, row, place));
    numbers[row] = missing;
    if (const auto ns = parse_timestamp(text))
      numbers[row] = static_cast<double>(*ns) / 1e9;
    else if (is_null(text))
      take_null(column, place_of(r, row), out);
    else
      violate(column, place_of(r, row), "type", text, out);
  }
}

void block_checker::coded_cells(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to,
                                checked_block& out) {
  const auto place = static_cast<std::size_t>(layout_.place[column]);
  const bool last = place + 1 == width_, csv = layout_.format == record_format::csv;
  const char* text = text_;
  const std::uint32_t* s = separators_.data() + 1 + r.first_separator + from * width_ + place;
  std::int32_t* codes = out.columns[column].codes.data() + r.first_slot;
  const category_dictionary& dictionary = state_[column].dictionary;
  for (std::uint32_t row = from; row < to; ++row, s += width_) {
    std::uint32_t begin = s[-1] + 1, end = s[0];
    if (last)
      end -= end > begin && text[end - 1] == '\r';
    const bool quoted = csv && text[begin] == '"';
    begin += quoted;
    end -= quoted;
    const std::size_t size = end - begin;
    if (size <= 16) [[likely]] {
      // Quotes inside quotes are never in the dictionary in this form: a pair in the text is written with both.
      const std::int32_t code = dictionary.find(category_dictionary::pack(text + begin, size));
      if (code >= 0) [[likely]] {
        codes[row] = code;
        continue;
      }
    }
    codes[row] = slow_code(column, r, row, out);
  }
}

/// NaN compares false: nulls and bad cells pass.
void block_checker::check_range(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to,
                                checked_block& out) {
  const double low = contract_.columns[column].min, high = contract_.columns[column].max;
  if (low == -std::numeric_limits<double>::infinity() && high == -low)
    return;
  const double* numbers = out.columns[column].numbers.data() + r.first_slot;
  unsigned outside = 0;
  for (std::uint32_t row = from; row < to; ++row)
    outside |= static_cast<unsigned>(numbers[row] < low) | static_cast<unsigned>(numbers[row] > high);
  if (outside == 0)
    return;
  const auto place = static_cast<std::size_t>(layout_.place[column]);
  for (std::uint32_t row = from; row < to; ++row)
    if (numbers[row] < low || numbers[row] > high)
      violate(column, place_of(r, row), numbers[row] < low ? "min" : "max", content(cell(r, row, place)), out);
}

// ---- cells that are not as usual ------------------------------------------------------------------------------------

double block_checker::slow_integer(std::size_t column, const run& r, std::uint32_t row, std::int64_t& exact,
                                   checked_block& out) {
  const std::string_view text = content(cell(r, row, static_cast<std::size_t>(layout_.place[column])));
  if (const auto value = parse_integer(text)) {
    exact = *value;
    return static_cast<double>(*value);
  }
  if (is_null(text))
    take_null(column, place_of(r, row), out);
  else
    violate(column, place_of(r, row), "type", text, out);
  return missing;
}

double block_checker::slow_number(std::size_t column, const run& r, std::uint32_t row, checked_block& out) {
  const std::string_view text = content(cell(r, row, static_cast<std::size_t>(layout_.place[column])));
  if (const auto value = parse_number(text))
    return *value;
  if (is_null(text))
    take_null(column, place_of(r, row), out);
  else
    violate(column, place_of(r, row), "type", text, out);
  return missing;
}

std::int32_t block_checker::slow_code(std::size_t column, const run& r, std::uint32_t row, checked_block& out) {
  const std::string_view text = content(cell(r, row, static_cast<std::size_t>(layout_.place[column])));
  std::int32_t code = state_[column].dictionary.find(text);
  if (code == code_absent)
    code = layout_.format == record_format::jsonl && text == jsonl_null ? code_null : judge_text(column, text);
  const bool boolean = contract_.columns[column].type == cell_type::boolean;
  switch (code) {
  case code_null: take_null(column, place_of(r, row), out); break;
  case code_not_allowed: violate(column, place_of(r, row), boolean ? "type" : "values", text, out); break;
  case code_no_match: violate(column, place_of(r, row), "pattern", text, out); break;
  default: break;
  }
  return code;
}

/// A text seen for the first time (by this thread): its code or verdict, remembered while there is room.
std::int32_t block_checker::judge_text(std::size_t column, std::string_view text) {
  const compiled_column& c = contract_.columns[column];
  category_dictionary& d = state_[column].dictionary;
  const bool room = d.size() < limits::categories_max && texts_kept_ < texts_kept_max &&
                    text.size() <= category_bytes_max && text.find('\0') == std::string_view::npos && is_valid_utf8(text);
  std::int32_t verdict = code_absent;
  if (c.type == cell_type::boolean) {
    const auto value = parse_boolean(text);
    verdict = value ? static_cast<std::int32_t>(*value) : code_not_allowed;
  } else if (!c.values.empty() && !c.values.contains(std::string{text})) {
    verdict = code_not_allowed;
  } else if (c.pattern && !re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), *c.pattern)) {
    verdict = code_no_match;
  }
  if (verdict == code_absent && !room) {
    state_[column].overflowed = true;
    return code_overflow;
  }
  if (!room)
    return verdict;
  ++texts_kept_;
  if (verdict == code_absent)
    return d.add_category(text);
  d.add_verdict(text, verdict);
  return verdict;
}

// ---- rows and the block as a whole ----------------------------------------------------------------------------------

void block_checker::check_rules(checked_block& out) {
  if (contract_.rules.empty())
    return;
  for (const run& r : runs_)
    for (std::uint32_t row = 0; row < r.rows; ++row) {
      const std::uint32_t slot = r.first_slot + row;
      if (out.bad[slot] != 0)
        continue; // what a bad cell would mean in a rule is anybody's guess
      std::vector<std::string> copies; // content() may reuse its scratch from cell to cell
      const auto cell_of = [&](std::size_t i) {
        const checked_column& c = out.columns[i];
        if (!is_coded(contract_.columns[i].type))
          return row_cell::of(c.numbers[slot]);
        if (c.codes[slot] >= 0)
          return row_cell::of(std::string_view{state_[i].dictionary.categories()[static_cast<std::size_t>(c.codes[slot])]});
        if (c.codes[slot] == code_null)
          return row_cell::null();
        copies.reserve(row_expression::columns_max);
        copies.emplace_back(content(cell(r, row, static_cast<std::size_t>(layout_.place[i]))));
        return row_cell::of(std::string_view{copies.back()});
      };
      for (const compiled_rule& rule : contract_.rules) {
        copies.clear();
        if (breaks(rule.expression.evaluate_with(cell_of))) {
          out.bad[slot] = 1;
          const auto at = place_of(r, row);
          violate_record(at.record, at.offset, rule.name, rule.expression.expression().text(), out);
        }
      }
    }
}

void block_checker::find_keys(checked_block& out) {
  out.keys.resize(key_sets_.size());
  out.key_null.resize(key_sets_.size());
  if (key_sets_.empty())
    return;
  out.offset_of.resize(out.slots);
  for (const run& r : runs_)
    for (std::uint32_t row = 0; row < r.rows; ++row)
      out.offset_of[r.first_slot + row] = place_of(r, row).offset;
  std::string material;
  for (std::size_t k = 0; k < key_sets_.size(); ++k) {
    const auto& set = key_sets_[k];
    auto& keys = out.keys[k];
    auto& nulls = out.key_null[k];
    nulls.assign(out.slots, 0);
    if (exact_keys(k)) { // compared as the integers themselves
      keys.clear();
      for (const std::uint32_t slot : state_[set.front()].null_slots)
        nulls[slot] = 1;
      continue;
    }
    keys.resize(out.slots);
    for (const run& r : runs_)
      for (std::uint32_t row = 0; row < r.rows; ++row) {
        const std::uint32_t slot = r.first_slot + row;
        if (out.bad[slot] != 0)
          continue;
        material.clear();
        for (const std::size_t i : set) {
          const checked_column& c = out.columns[i];
          if (is_coded(contract_.columns[i].type)) {
            nulls[slot] |= c.codes[slot] == code_null;
            const std::string_view text = content(cell(r, row, static_cast<std::size_t>(layout_.place[i])));
            const auto size = static_cast<std::uint32_t>(text.size());
            material.append(reinterpret_cast<const char*>(&size), sizeof size);
            material.append(text);
          } else if (exact_[i]) {
            nulls[slot] |= std::isnan(c.numbers[slot]);
            material.append(reinterpret_cast<const char*>(&c.integers[slot]), sizeof(std::int64_t));
          } else {
            nulls[slot] |= std::isnan(c.numbers[slot]);
            const double x = c.numbers[slot] + 0.0; // -0 and 0 are one key
            material.append(reinterpret_cast<const char*>(&x), sizeof x);
          }
        }
        const XXH128_hash_t h = XXH3_128bits(material.data(), material.size());
        keys[slot] = {h.low64, h.high64};
      }
  }
}

void block_checker::finish(const record_block& block, checked_block& out) {
  // By record and column, the first verdict on a cell counts; lines are counted on the way.
  std::stable_sort(out.violations.begin(), out.violations.end(), [](const auto& a, const auto& b) {
    return a.record != b.record ? a.record < b.record : a.column < b.column;
  });
  const auto same_cell = [](const auto& a, const auto& b) {
    return a.record == b.record && a.column == b.column && a.column >= 0;
  };
  out.violations.erase(std::unique(out.violations.begin(), out.violations.end(), same_cell), out.violations.end());
  std::uint32_t line = 0, counted = 0;
  for (block_violation& v : out.violations) {
    line += static_cast<std::uint32_t>(std::count(block.text() + counted, block.text() + v.offset, '\n'));
    counted = v.offset;
    v.line = line;
    if (v.column >= 0)
      ++out.columns[static_cast<std::size_t>(v.column)].violations;
  }
  out.bad_slots = 0;
  for (const auto b : out.bad)
    out.bad_slots += b;
  out.record_of.clear();
  if (out.slots != out.records)
    for (const run& r : runs_)
      for (std::uint32_t row = 0; row < r.rows; ++row)
        out.record_of.push_back(r.first_record + row);
  for (std::size_t i = 0; i < out.columns.size(); ++i) {
    checked_column& c = out.columns[i];
    c.nulls = 0;
    for (const std::uint32_t slot : state_[i].null_slots)
      c.nulls += out.bad[slot] == 0;
    if (is_coded(contract_.columns[i].type))
      continue;
    double low = std::numeric_limits<double>::infinity(), high = -low;
    const double* numbers = c.numbers.data();
    if (out.bad_slots == 0) {
      double lows[4] = {low, low, low, low}, highs[4] = {high, high, high, high};
      std::uint32_t slot = 0;
      for (; slot + 4 <= out.slots; slot += 4)
        for (std::uint32_t j = 0; j < 4; ++j) { // four at a time: one would wait for the one before
          lows[j] = numbers[slot + j] < lows[j] ? numbers[slot + j] : lows[j];
          highs[j] = numbers[slot + j] > highs[j] ? numbers[slot + j] : highs[j];
        }
      for (; slot < out.slots; ++slot) {
        lows[0] = numbers[slot] < lows[0] ? numbers[slot] : lows[0];
        highs[0] = numbers[slot] > highs[0] ? numbers[slot] : highs[0];
      }
      low = std::min({lows[0], lows[1], lows[2], lows[3]});
      high = std::max({highs[0], highs[1], highs[2], highs[3]});
    } else {
      for (std::uint32_t slot = 0; slot < out.slots; ++slot)
        if (out.bad[slot] == 0) {
          low = numbers[slot] < low ? numbers[slot] : low;
          high = numbers[slot] > high ? numbers[slot] : high;
        }
    }
    c.min = low;
    c.max = high;
  }
}

} // namespace flywheel
