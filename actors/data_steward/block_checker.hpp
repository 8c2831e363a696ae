#pragma once
// One block of records against the contract: the part of a pass that runs on every thread. Knows nothing of other blocks,
// so that any number of them can be checked at once; what needs an order (row numbers, duplicate keys) comes after.

#include "actors/data_steward/category_dictionary.hpp"
#include "actors/data_steward/compiled_contract.hpp"
#include "actors/data_steward/record_splitter.hpp"
#include "actors/data_steward/structure_scan.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// How the columns of the file lie to those of the contract.
struct record_layout {
  record_format format = record_format::csv;
  char separator = ',';
  std::string header;                        ///< csv: the header's line as written, without its end
  std::vector<std::string> names;            ///< csv: by position in the file; jsonl: the contract's columns
  std::vector<std::int32_t> place;           ///< by contract column: its position in the file
};

/// 128 bits that stand for a key: the number itself, or a hash of the texts.
struct key_value {
  std::uint64_t low = 0, high = 0;
  bool operator==(const key_value&) const = default;
};

struct block_violation {
  std::uint32_t record = 0;                  ///< 0-based within the block
  std::uint32_t offset = 0;                  ///< of the record's first byte in the block's text
  std::uint32_t line = 0;                    ///< 0-based within the block
  std::int32_t column = -1;                  ///< of the contract; -1: the row as a whole
  std::string_view rule;                     ///< lives as long as the contract
  std::string value;
};

struct checked_column {
  std::vector<double> numbers;               ///< by slot; NaN: null or bad. Numeric types
  std::vector<std::int32_t> codes;           ///< by slot; of the checking thread's dictionary. Coded types
  std::vector<std::int64_t> integers;        ///< by slot; exact, only where an integer is a key or unique
  std::uint64_t nulls = 0, violations = 0;   ///< nulls among the good rows
  double min = 0, max = 0;                   ///< among the good rows; min > max: none
};

/// A slot is a record with the right number of cells; only those have values.
struct checked_block {
  std::uint32_t records = 0, lines = 0;
  std::uint32_t slots = 0, bad_slots = 0;
  std::vector<std::uint8_t> bad;             ///< by slot
  std::vector<std::uint32_t> record_of;      ///< by slot; empty: slot and record are the same number
  std::vector<std::uint32_t> offset_of;      ///< by slot: where the record begins in the block's text; only with keys
  std::vector<checked_column> columns;       ///< as in the contract
  std::vector<std::vector<key_value>> keys;  ///< by key set (the key, then each unique column), by slot
  std::vector<std::vector<std::uint8_t>> key_null;  ///< a key with a null in it is compared with nothing
  std::vector<block_violation> violations;   ///< by record and column; one a cell at most
};

class block_checker {
public:
  block_checker(const compiled_contract& contract, const record_layout& layout, std::size_t cell_bytes_max,
                const structure_scanner& scanner);

  /// `out` is reused from block to block.
  void check(const record_block& block, checked_block& out);
  /// The text of a cell of the block checked last, for people; `block` must still be there.
  std::string text_of(std::uint32_t slot, std::size_t column);
  /// The key first, then each unique column: the columns of each.
  const std::vector<std::vector<std::size_t>>& key_sets() const noexcept { return key_sets_; }
  /// True if the keys of this set are integers (checked_column::integers), not hashes.
  bool exact_keys(std::size_t set) const { return key_sets_[set].size() == 1 && exact_[key_sets_[set].front()]; }
  /// Of a coded column; only grows.
  const category_dictionary& dictionary(std::size_t column) const { return state_[column].dictionary; }
  /// True once a column had more distinct texts than are kept.
  bool overflowed(std::size_t column) const { return state_[column].overflowed; }

private:
  /// Records that lie one after the other and have one cell a column.
  struct run {
    std::uint32_t first_separator, rows, first_record, first_slot;
  };
  struct column_state {
    category_dictionary dictionary;
    bool overflowed = false;
    std::vector<std::uint32_t> null_slots;   ///< of this block
  };
  struct cell_place {
    std::uint32_t slot, record, offset;
  };

  void find_runs(const record_block& block, const separator_index& index, checked_block& out);
  void transcode_jsonl(const record_block& block, checked_block& out);
  void check_encoding(checked_block& out);
  void check_columns(checked_block& out);
  void check_column(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to, checked_block& out);
  template <bool Exact> void integer_cells(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to, checked_block& out);
  void number_cells(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to, checked_block& out);
  void timestamp_cells(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to, checked_block& out);
  void coded_cells(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to, checked_block& out);
  void check_range(std::size_t column, const run& r, std::uint32_t from, std::uint32_t to, checked_block& out);
  void check_rules(checked_block& out);
  void find_keys(checked_block& out);
  void finish(const record_block& block, checked_block& out);

  std::string_view cell(const run& r, std::uint32_t row, std::size_t place) const noexcept;
  /// Quotes removed; the view may point into `scratch_`.
  std::string_view content(std::string_view cell);
  bool is_null(std::string_view content) const noexcept;
  cell_place place_of(const run& r, std::uint32_t row) const noexcept;
  void violate(std::size_t column, const cell_place& at, std::string_view rule, std::string_view value, checked_block& out);
  void violate_record(std::uint32_t record, std::uint32_t offset, std::string_view rule, std::string value, checked_block& out);
  /// A null cell: counted, or a violation.
  void take_null(std::size_t column, const cell_place& at, checked_block& out);
  double slow_integer(std::size_t column, const run& r, std::uint32_t row, std::int64_t& exact, checked_block& out);
  double slow_number(std::size_t column, const run& r, std::uint32_t row, checked_block& out);
  std::int32_t slow_code(std::size_t column, const run& r, std::uint32_t row, checked_block& out);
  std::int32_t judge_text(std::size_t column, std::string_view text);

  const compiled_contract& contract_;
  const record_layout& layout_;
  std::size_t cell_bytes_max_;
  const structure_scanner& scanner_;
  std::size_t width_;                        ///< cells a record
  std::vector<std::vector<std::size_t>> key_sets_;
  std::vector<bool> exact_;                  ///< by column: integers are kept
  std::vector<column_state> state_;
  std::size_t texts_kept_ = 0;               ///< in all dictionaries together
  std::vector<std::uint32_t> separators_;    ///< one sentinel in front
  std::vector<run> runs_;
  const char* text_ = nullptr;               ///< what the separators point into
  std::string arena_;                        ///< jsonl: cells rewritten one after the other
  std::vector<std::uint32_t> record_offsets_;///< jsonl: where each record begins in the block
  std::string scratch_;
};

} // namespace flywheel
