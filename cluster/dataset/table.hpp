#pragma once
// A table in memory, by column: what the steward writes, the families train on and the evaluator judges with.

#include "cluster/base/error.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

enum class column_type : std::uint8_t { numeric, categorical };
std::string_view name_of(column_type type) noexcept;

/// One column. Numeric: `numbers`, NaN where missing. Categorical: `codes` into `categories`, -1 where missing.
struct column {
  std::string name;
  column_type type = column_type::numeric;
  std::vector<double> numbers;
  std::vector<std::int32_t> codes;
  std::vector<std::string> categories; ///< in order of first appearance in the training part, without duplicates

  std::size_t rows() const noexcept { return type == column_type::numeric ? numbers.size() : codes.size(); }
  /// -1 if `text` is not a category of this column.
  std::int32_t code_of(std::string_view text) const noexcept;
};

struct table {
  std::vector<column> columns;
  std::vector<std::uint64_t> row_ids; ///< 1-based data row in the source file (header not counted); lineage of each row

  std::size_t rows() const noexcept { return row_ids.size(); }
  const column* find(std::string_view name) const noexcept;
  /// The rows at `indices`, in that order; categories are kept.
  table select(std::span<const std::uint32_t> indices) const;
  /// Error if columns differ in length, a code is out of range, or a name repeats.
  status check() const;
};

} // namespace flywheel
