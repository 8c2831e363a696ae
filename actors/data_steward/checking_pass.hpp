#pragma once
// One streaming pass over a file: threads take blocks in turn, check them side by side, and hand the outcome over in the
// file's order. The same file gives the same outcome for any number of threads.

#include "actors/data_steward/data_file.hpp"
#include "actors/data_steward/file_check.hpp"

#include <map>
#include <unordered_map>

namespace flywheel {

/// What wants to see rows. Called in the file's order, never by two threads at once.
class pass_sink {
public:
  virtual ~pass_sink() = default;
  /// A block's slots; those marked bad are not to be used. `thread` names the dictionary that the codes belong to.
  /// `rows`: the 1-based data row of each slot.
  virtual status take(const checked_block& block, std::size_t thread, const block_checker& checker,
                      const std::vector<std::uint64_t>& rows) = 0;
  /// A broken rule, in the order of rows.
  virtual status reject(const violation& v) = 0;
  /// Duplicates that were found only at the end: rows that take() has seen and that are not to be kept.
  virtual status withdraw(const std::vector<std::uint64_t>& rows) = 0;
};

struct pass_column {
  std::uint64_t nulls = 0, violations = 0;
  double min = 0, max = 0;                                     ///< of good rows; min > max: none
  std::unordered_map<std::string, std::uint64_t> counts;       ///< text -> good rows; coded columns
  bool overflowed = false;                                     ///< there were more texts than are counted
};

struct pass_summary {
  std::string format, compression;
  std::uint64_t bytes = 0, rows_read = 0, rows_bad = 0, key_duplicates = 0;
  std::map<std::string, std::uint64_t> by_rule;
  std::vector<pass_column> columns;                            ///< as in the contract
  std::vector<std::string> not_in_contract;                    ///< columns of the file that the contract does not name
};

/// `hash`, if any, sees the file's raw bytes. `sink` may be null. Errors are of the file or the machine, never of rows.
result<pass_summary> run_pass(const data_spec& data, const compiled_contract& contract, const check_options& options,
                              hasher* hash, pass_sink* sink, const std::atomic<bool>& stop);

} // namespace flywheel
