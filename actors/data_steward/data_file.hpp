#pragma once
// A data file opened: what format it has, which columns, and the stream behind its header.

#include "actors/data_steward/block_checker.hpp"
#include "actors/data_steward/byte_source.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <memory>
#include <string>
#include <vector>

namespace flywheel {

struct data_file {
  std::unique_ptr<byte_source> source;
  record_format format = record_format::csv;
  char separator = ',';              ///< csv: ',' unless the header has none and has ';', tab or '|'
  std::string header;                ///< csv: the header's line as written, without its end
  std::vector<std::string> names;    ///< csv: the columns; jsonl: empty
  std::string rest;                  ///< read already, to be given back to the splitter
  std::uint64_t header_lines = 0;    ///< lines before the first record
};

/// Tells the format ("auto") from the content: an object at the beginning is JSON lines, anything else CSV.
/// Errors: not_found, permission_denied; invalid_format for other encodings, no header, a column without name or twice.
result<data_file> open_data_file(const data_spec& data, hasher* hash);

/// The contract's columns in the file. invalid_data naming each that is absent, with the nearest there is.
result<record_layout> lay_out(const data_file& file, const compiled_contract& contract, const std::string& path);

} // namespace flywheel
