#pragma once
// What the tests of a pass share: a contract in a line, and a sink that remembers everything.

#include "actors/data_steward/checking_pass.hpp"
#include "cluster/base/text.hpp"
#include "tests/actors/data_steward/temporary_folder.hpp"

#include <atomic>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

namespace flywheel::test {

inline const std::atomic<bool> never{false};

inline column_rule a_column(std::string name, std::string type, std::optional<double> min = {}, std::optional<double> max = {},
                            std::vector<std::string> values = {}) {
  column_rule c;
  c.name = std::move(name);
  c.type = std::move(type);
  c.min = min;
  c.max = max;
  c.values = std::move(values);
  return c;
}
inline column_rule nullable(column_rule c) {
  c.nullable = true;
  return c;
}
inline column_rule unique(column_rule c) {
  c.unique = true;
  return c;
}

/// Good rows as text, cell by cell; "<null>" for a null.
class remembering_sink final : public pass_sink {
public:
  explicit remembering_sink(const compiled_contract& contract) : contract_(contract) {}
  status take(const checked_block& block, std::size_t, const block_checker& checker, const std::vector<std::uint64_t>& rows) override {
    for (std::uint32_t slot = 0; slot < block.slots; ++slot) {
      if (block.bad[slot] != 0)
        continue;
      std::string row = std::to_string(rows[slot]) + ":";
      for (std::size_t i = 0; i < contract_.columns.size(); ++i) {
        const auto& c = block.columns[i];
        if (!is_coded(contract_.columns[i].type))
          row += " [" + (std::isnan(c.numbers[slot]) ? "<null>" : format_number(c.numbers[slot])) + "]";
        else if (c.codes[slot] < 0)
          row += c.codes[slot] == code_null ? " [<null>]" : " [<overflow>]";
        else
          row += " [" + checker.dictionary(i).categories()[static_cast<std::size_t>(c.codes[slot])] + "]";
      }
      good.push_back(std::move(row));
    }
    return success();
  }
  status reject(const violation& v) override {
    bad.push_back("row " + std::to_string(v.row) + " line " + std::to_string(v.line) + " " + v.column + ": " + v.rule);
    values.push_back(v.value);
    return success();
  }
  status withdraw(const std::vector<std::uint64_t>& rows) override {
    withdrawn = rows;
    return success();
  }
  std::vector<std::string> good, bad, values;
  std::vector<std::uint64_t> withdrawn;

private:
  const compiled_contract& contract_;
};

struct pass_outcome {
  std::vector<std::string> good, bad, values;
  std::vector<std::uint64_t> withdrawn;
  pass_summary summary;
};

inline result<pass_outcome> run(const data_spec& data, const check_options& options = {}) {
  FLYWHEEL_TRY(const auto contract, compile_contract(data.contract));
  remembering_sink sink(contract);
  FLYWHEEL_TRY(auto summary, run_pass(data, contract, options, nullptr, &sink, never));
  return pass_outcome{std::move(sink.good), std::move(sink.bad), std::move(sink.values), std::move(sink.withdrawn), std::move(summary)};
}

} // namespace flywheel::test
