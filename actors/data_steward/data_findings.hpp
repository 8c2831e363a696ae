#pragma once
// What a person should know about a table before a model is made from it: leaks, identifiers, columns that say nothing
// or say the same, spellings, duplicates. Pure: a table in, sentences out. Thresholds and formulas in docs/data.md.

#include "cluster/dataset/snapshot.hpp"
#include "cluster/dataset/table.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flywheel {

/// "Yes", "yes " and "YES" are one word to a person. Groups of such spellings, each with the commonest one first.
std::vector<data_finding> find_spellings(std::string_view column,
                                         const std::vector<std::pair<std::string, std::uint64_t>>& counts);
/// All-null, constant and identifier-like columns among `candidates`.
std::vector<data_finding> find_idle_columns(const table& t, const std::vector<std::string>& candidates);
/// Columns that give the target away: equal to it (left out), or predicting it almost perfectly by themselves.
std::vector<data_finding> find_leaks(const table& t, const std::string& target, bool classification,
                                     const std::vector<std::string>& candidates);
/// Pairs of numeric columns with one a linear function of the other.
std::vector<data_finding> find_redundant(const table& t, const std::vector<std::string>& candidates);

struct duplicate_counts {
  std::uint64_t exact = 0, near = 0;
  std::vector<std::uint64_t> signature; ///< by row: equal rows have equal ones (64 bits of hash over `columns`)
};
/// Exact: all of `columns` are equal. Near: equal after numbers are rounded to ten binary digits of mantissa (about three
/// decimal ones), but not exact.
duplicate_counts find_duplicates(const table& t, const std::vector<std::string>& columns);

} // namespace flywheel
