#pragma once
// A contract made ready to run: patterns compiled, names resolved, keys found. Immutable; shared by the checking threads.

#include "cluster/base/error.hpp"
#include "cluster/goal/goal_spec.hpp"
#include "cluster/goal/row_expression.hpp"

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

namespace re2 {
class RE2;
}

namespace flywheel {

enum class cell_type : std::uint8_t { integer, number, boolean, category, text, timestamp };
std::string_view name_of(cell_type t) noexcept;
std::optional<cell_type> cell_type_from_name(std::string_view name) noexcept;
/// True for the types whose cells become codes; the others become doubles.
constexpr bool is_coded(cell_type t) noexcept {
  return t == cell_type::boolean || t == cell_type::category || t == cell_type::text;
}

struct compiled_column {
  std::string name;
  cell_type type = cell_type::text;
  bool nullable = false, unique = false, in_key = false;
  double min = -std::numeric_limits<double>::infinity(), max = std::numeric_limits<double>::infinity();
  std::unordered_set<std::string> values;    ///< allowed; empty: any
  std::shared_ptr<const re2::RE2> pattern;   ///< null: any
};

struct compiled_rule {
  std::string name;                          ///< "rule <name>", as violations call it
  bound_row_expression expression;           ///< bound to the contract's columns
};

struct compiled_contract {
  std::vector<compiled_column> columns;
  std::vector<compiled_rule> rules;
  std::vector<std::size_t> key;              ///< indices into columns; empty: none
  std::vector<std::size_t> unique;           ///< columns that must be unique by themselves and are not the key
  std::vector<std::string> null_tokens;
  std::optional<std::size_t> time_column;

  bool is_null_token(std::string_view text) const noexcept;
};

/// invalid_contract naming the column or rule, and what would be right.
result<compiled_contract> compile_contract(const data_contract& contract);
/// SHA-256 of everything in the contract, for lineage.
std::string contract_digest(const data_contract& contract);

} // namespace flywheel
