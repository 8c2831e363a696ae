#pragma once
// Is the file as a whole acceptable? The rules of a contract that are about all rows. Pure.

#include "actors/data_steward/checking_pass.hpp"

#include <string>
#include <vector>

namespace flywheel {

struct file_verdict {
  bool acceptable = true;
  std::string sentence;  ///< why (not), with numbers
  std::string hint;      ///< what to do next; may be empty
};

/// rows_min, rows_max, bad_rows_max, fresh_within.
file_verdict judge(const data_spec& data, const compiled_contract& contract, const pass_summary& seen, wall_time now);

/// An inferred contract's columns as far as ingest() enforces them unasked: types and nulls, no ranges or sets.
std::vector<column_rule> lenient_columns(const data_contract& inferred);

} // namespace flywheel
