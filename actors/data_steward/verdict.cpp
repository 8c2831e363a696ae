#include "actors/data_steward/verdict.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

file_verdict judge(const data_spec& data, const compiled_contract& contract, const pass_summary& seen, wall_time now) {
  const data_contract& c = data.contract;
  const std::uint64_t kept = seen.rows_read - seen.rows_bad;
  const auto number = [](std::uint64_t n) { return std::to_string(n); };
  if (seen.rows_read == 0)
    return {false, "the file has no rows", "check how it was exported"};
  const double bad = static_cast<double>(seen.rows_bad) / static_cast<double>(seen.rows_read);
  if (bad > c.bad_rows_max) {
    const auto worst = std::max_element(seen.by_rule.begin(), seen.by_rule.end(),
                                        [](const auto& a, const auto& b) { return a.second < b.second; });
    return {false,
            number(seen.rows_bad) + " of " + number(seen.rows_read) + " rows (" + format_percent(bad) +
                ") break the contract; it allows " + format_percent(c.bad_rows_max) + ". Most often: rule '" + worst->first +
                "', " + number(worst->second) + " times",
            "run 'flywheel data check' to see the rows, then mend the file or the contract"};
  }
  if (kept < c.rows_min)
    return {false, number(kept) + " rows are good; the contract wants at least " + number(c.rows_min),
            "check that the file is complete"};
  if (c.rows_max && kept > *c.rows_max)
    return {false, number(kept) + " rows are good; the contract allows at most " + number(*c.rows_max),
            "raise contract.rows_max if that is right"};
  if (c.fresh_within && contract.time_column) {
    const double newest = seen.columns[*contract.time_column].max;
    const double age = static_cast<double>(now.ns) / 1e9 - newest;
    if (!std::isfinite(newest))
      return {false, "no row has a time in '" + c.time_column + "'", "the contract wants to know how fresh the data is"};
    if (age > static_cast<double>(c.fresh_within->count()) / 1e9)
      return {false,
              "the newest row is of " + to_iso8601({static_cast<std::int64_t>(newest * 1e9)}) + ", " +
                  format_duration(nanoseconds{static_cast<std::int64_t>(std::min(age, 9e9) * 1e9)}) +
                  " ago; the contract wants data of the last " + format_duration(*c.fresh_within),
              "fetch newer data"};
  }
  return {true, seen.rows_bad == 0 ? "every row keeps the contract"
                                   : number(seen.rows_bad) + " of " + number(seen.rows_read) + " rows (" + format_percent(bad) +
                                         ") break the contract, within the " + format_percent(c.bad_rows_max) + " it allows",
          ""};
}

std::vector<column_rule> lenient_columns(const data_contract& inferred) {
  std::vector<column_rule> out;
  for (const column_rule& c : inferred.columns) {
    column_rule r;
    r.name = c.name;
    r.type = c.type;
    r.nullable = true; // seen without nulls is no promise
    out.push_back(std::move(r));
  }
  return out;
}

} // namespace flywheel
