#pragma once
// Which rows are held out. The same rows and the same wish give the same split, on every machine: rows are put in an
// order by a stable hash, and the front of that order is held out.

#include "cluster/base/error.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace flywheel {

/// What a split looks at, by kept row, in the file's order. Vectors that the strategy does not need may be empty.
struct split_input {
  std::vector<std::uint64_t> identity;      ///< a stable name of the row: its number in the file
  std::vector<std::int64_t> stratum;        ///< "stratified": class, or bin of the target
  std::vector<std::uint64_t> group;         ///< "grouped": rows of a group stay together
  std::vector<double> time;                 ///< "time": NaN counts as the oldest
};

struct split_plan {
  std::vector<std::uint32_t> train, holdout; ///< rows in ascending order
  std::string reason;                        ///< one sentence
};

/// invalid_data if a part would be empty or a class would be missing from the training part.
result<split_plan> plan_split(const data_split& wish, const split_input& input);

} // namespace flywheel
