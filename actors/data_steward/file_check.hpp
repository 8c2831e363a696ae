#pragma once
// `flywheel data check` and `flywheel data infer`: a file against its contract, and a contract from a file.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/dataset/snapshot.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <nlohmann/json_fwd.hpp>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace flywheel {

/// The bounds of a pass over a file. Memory while checking stays below
///   threads * ~4 x block_bytes + key_memory + categories (limits::categories_max per column) + rows of a bad file's report.
struct check_options {
  std::uint32_t threads = 1;
  wall_time now;                                        ///< for freshness rules and the snapshot's date
  std::size_t block_bytes = 256 * limits::kib;          ///< read and parsed at a time, per thread
  std::size_t cell_bytes_max = limits::data_cell_bytes_max;
  std::size_t record_bytes_max = 4 * limits::data_cell_bytes_max;
  std::size_t key_memory_max = 96 * limits::mib;        ///< of the duplicate check; beyond it keys go to a temporary file
  std::filesystem::path temporary;                      ///< folder for that file; empty: the system's
  bool portable = false;                                ///< use the plain scanner although the CPU could do better
  /// Called now and then with bytes read so far and the file's size; may be empty. Any of the checking threads.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

/// One broken rule.
struct violation {
  std::uint64_t row = 0;     ///< 1-based data row (the header is not counted)
  std::uint64_t line = 0;    ///< 1-based line of the file on which the row begins; 0: not known (a duplicate
                             ///< found at the end, see check_options::key_memory_max)
  std::string column;        ///< empty: the row as a whole
  std::string rule;          ///< "type" "null" "min" "max" "values" "pattern" "unique" "key" "columns" "header" "quote"
                             ///< "cell-size" "row-size" "nul" "encoding" "nested" "json", or "rule <name>"
  std::string value;         ///< safe to print, cut
};
nlohmann::json to_json(const violation& v);

/// What was seen in one column.
struct column_summary {
  std::string name, type;
  std::uint64_t nulls = 0, violations = 0;
  double min = 0, max = 0;                  ///< of accepted values; min > max: none
  std::vector<class_count> categories;      ///< by count, at most 50; category columns only
  std::uint64_t distinct = 0;               ///< categories seen; 0 for numbers
};

/// A file seen through its contract.
struct file_report {
  std::string path, format, compression;
  bool contract_inferred = false;
  std::uint64_t bytes = 0, rows_read = 0, rows_bad = 0;
  std::map<std::string, std::uint64_t> by_rule;       ///< rule -> broken how often
  std::uint64_t key_duplicates = 0;
  std::vector<violation> examples;                    ///< the first ones, in order; at most 100
  std::vector<column_summary> columns;
  std::vector<data_finding> findings;
  bool acceptable = true;                             ///< would be ingested
  std::string verdict;                                ///< why, in one sentence

  std::string render(bool colour) const;              ///< for people
};
nlohmann::json to_json(const file_report& r);

/// Checks every row; memory bounded as above. An unacceptable file is a report, not an error; errors are as for ingest().
result<file_report> check_file(const data_spec& data, const check_options& options, const std::atomic<bool>& stop);

/// A draft of a contract.
struct contract_draft {
  data_contract contract;
  std::string yaml;                    ///< the `data:` section of a goal file, with a comment on what was seen
  std::uint64_t rows = 0;
  std::vector<data_finding> findings;
};
/// Reads the whole file. A type is proposed if all but 1 % of the cells fit it; what does not fit is said in a comment.
result<contract_draft> infer_contract(const data_spec& data, const check_options& options, const std::atomic<bool>& stop);

} // namespace flywheel
