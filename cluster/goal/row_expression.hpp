#pragma once
// Conditions over one row of data: the language of row rules and slices, "a <= b", "plan == 'yes' and calls >= 4".
// The goal parser checks them, the data steward and the evaluator run them: one grammar, one meaning.
//
//   condition   = and_part { "or" and_part }
//   and_part    = not_part { "and" not_part }
//   not_part    = "not" not_part | comparison
//   comparison  = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum
//                     | "is" ["not"] "null" | ["not"] "in" "[" literal { "," literal } "]" ]
//   sum         = product { ("+" | "-") product }
//   product     = unary { ("*" | "/" | "%") unary }
//   unary       = "-" unary | primary
//   primary     = literal | column | function "(" condition { "," condition } ")" | "(" condition ")"
//   literal     = number | "text" | 'text' | true | false          (a minus before a number is allowed in a list)
//   column      = letter or "_" or any non-ASCII byte, then those, digits and "."; or `anything in back quotes`
//   function    = abs(x) round(x) floor(x) ceil(x) length(text) min(x, y, ...) max(x, y, ...)
//
// Keywords are read in any case; a column with a keyword's name goes in back quotes. In a text, a backslash takes the
// next character as it is. Comparisons do not chain (a < b < c is refused, with the fix).
//
// Meaning. There are three truths: yes, no, unknown.
//   - A null (missing) cell makes arithmetic and comparisons unknown; only "is null" and "is not null" look at it.
//   - and/or/not are Kleene's: "no and unknown" is no, "yes or unknown" is yes, "not unknown" is unknown.
//   - A row BREAKS a row rule only if it is `no` (as in SQL's CHECK). A row BELONGS to a slice only if it is `yes`
//     (as in SQL's WHERE). That is what the two helpers breaks() and belongs() say.
//   - Numbers compare as numbers, text byte by byte. Between a number and a text the text is read as a number; if it is
//     none, == is no, != is yes and the orderings are unknown.
//   - true and false, and a bare column used as a condition: the cell is read as a boolean: 1/0, true/false, yes/no, y/n,
//     t/f in any case; anything else is unknown.
//   - Numbers are doubles and == is exact: for sums of decimals write abs(a + b - c) < 0.005.
//   - Arithmetic on text that is not a number, division by zero and results that are not finite are null.

#include "cluster/base/error.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// One cell. The text is borrowed and must outlive the call it is passed to. A NaN number is null.
struct row_cell {
  enum class kind : std::uint8_t { null, number, text } type = kind::null;
  double number = 0;
  std::string_view text;

  static row_cell null() { return {}; }
  static row_cell of(double x) { return {kind::number, x, {}}; }
  static row_cell of(std::string_view s) { return {kind::text, 0, s}; }
  static row_cell of(const char* s) { return of(std::string_view{s}); }
};

enum class truth : std::uint8_t { no, yes, unknown };
/// A row rule is broken only by `no`.
constexpr bool breaks(truth t) noexcept { return t == truth::no; }
/// A row is in a slice only on `yes`.
constexpr bool belongs(truth t) noexcept { return t == truth::yes; }

class bound_row_expression;

/// A parsed condition: immutable, copyable, thread-safe.
class row_expression {
public:
  static constexpr std::size_t text_bytes_max = 4096; ///< longer is refused: no person writes it
  static constexpr std::size_t depth_max = 64;        ///< of nesting and of the evaluation stack
  static constexpr std::size_t columns_max = 64;      ///< distinct columns in one condition

  /// A column used, and where it is first named (byte offset into the text).
  struct column_use {
    std::string name;
    std::size_t offset;
  };
  /// A column compared (==, !=, in) with a text literal: lets a checker find values that the column cannot have.
  struct literal_use {
    std::string column;
    std::string literal;
    std::size_t offset;
  };

  /// Parses and type-checks. Error: invalid_argument; `where` is "column N" (1-based, in bytes), `hint` the fix if there is
  /// one. If `error_offset` is given it gets the 0-based byte offset of the problem.
  static result<row_expression> parse(std::string_view text, std::size_t* error_offset = nullptr);

  const std::string& text() const noexcept { return text_; }
  /// The distinct columns in order of first use.
  const std::vector<column_use>& columns() const noexcept { return columns_; }
  const std::vector<literal_use>& literals() const noexcept { return literals_; }

  /// Finds each used column in `names` (the columns of a file or table). Error: not_found for the first one that is absent,
  /// with the nearest name as hint.
  result<bound_row_expression> bind(std::span<const std::string> names) const;

  /// The truth for one row: cells[i] is the cell of columns()[i]. Does not allocate.
  truth evaluate(std::span<const row_cell> cells) const noexcept;

private:
  friend class row_expression_parser;
  enum class op : std::uint8_t {
    column, number, text, boolean, add, subtract, multiply, divide, modulo, negate, absolute, round, floor, ceil, length,
    least, greatest, equal, not_equal, less, less_equal, greater, greater_equal, is_null, is_not_null, in, not_in,
    logical_and, logical_or, logical_not,
  };
  /// One step of a stack machine. `index`: column, text or first list item; `count`: list items.
  struct instruction {
    op code;
    std::uint32_t index = 0, count = 0;
    double value = 0;
  };
  struct literal {
    bool is_text = false;
    bool is_boolean = false;
    double number = 0;
    std::string text;
  };

  std::string text_;
  std::vector<column_use> columns_;
  std::vector<literal_use> literals_;
  std::vector<instruction> program_;
  std::vector<literal> constants_; ///< texts and list items
};

/// A condition tied to the column order of one file or table. Copyable, thread-safe.
class bound_row_expression {
public:
  /// Position in the bound names of each of expression().columns().
  const std::vector<std::size_t>& indices() const noexcept { return indices_; }
  const row_expression& expression() const noexcept { return expression_; }

  /// `row` holds a cell for every bound name.
  truth evaluate(std::span<const row_cell> row) const noexcept {
    return evaluate_with([row](std::size_t i) { return row[i]; });
  }
  /// `cell_of(index in the bound names)` gives a row_cell; called once for each used column, and for no other.
  template <class F> truth evaluate_with(F&& cell_of) const {
    std::array<row_cell, row_expression::columns_max> used;
    for (std::size_t i = 0; i < indices_.size(); ++i)
      used[i] = cell_of(indices_[i]);
    return expression_.evaluate(std::span<const row_cell>{used.data(), indices_.size()});
  }

private:
  friend class row_expression;
  bound_row_expression(row_expression e, std::vector<std::size_t> indices)
      : expression_(std::move(e)), indices_(std::move(indices)) {}
  row_expression expression_;
  std::vector<std::size_t> indices_;
};

} // namespace flywheel
