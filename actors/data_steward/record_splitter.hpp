#pragma once
// Cuts a stream into blocks of whole records, without parsing them: the one sequential step of a pass.
//
// A block is clean: quotes follow RFC 4180, its last record is whole and ends in a newline. What is not clean is cut out
// record by record and named: a stray quote, or a record beyond the limits (an unterminated quote swallows what follows).
// Such a record ends at the end of its first line, so that one stray quote costs one row and not the rest of the file.

#include "actors/data_steward/byte_source.hpp"
#include "actors/data_steward/structure_scan.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// A record that is no record.
struct broken_record {
  std::string_view rule;   ///< "quote" or "row-size"
  std::string beginning;   ///< its first bytes
};

/// Reused from block to block; owns its bytes.
struct record_block {
  std::vector<char> bytes;            ///< scan_padding, the text, scan_padding
  std::size_t size = 0;               ///< of the text
  std::vector<broken_record> broken;  ///< the records after the text that were cut out, in order; one line each
  char* text() { return bytes.data() + scan_padding; }
  const char* text() const { return bytes.data() + scan_padding; }
};

enum class record_format : std::uint8_t { csv, jsonl };

class record_splitter {
public:
  struct limits {
    std::size_t block_bytes, record_bytes_max;
  };
  record_splitter(byte_source& source, record_format format, char separator, limits l, const structure_scanner& scanner)
      : source_(source), format_(format), separator_(separator), limits_(l), scanner_(scanner) {}

  /// Fills `block`; false at the end. Memory: block and carry, at most block_bytes + 2 * record_bytes_max each.
  result<bool> next(record_block& block);
  /// Gives bytes back to be read first; before the first next().
  void put_back(std::string_view bytes) { carry_.insert(0, bytes); }

private:
  result<bool> fill(record_block& block, std::size_t capacity);
  status cut_broken(record_block& block, std::size_t begin, std::string_view rule);

  byte_source& source_;
  record_format format_;
  char separator_;
  limits limits_;
  const structure_scanner& scanner_;
  std::string carry_;   ///< read, but not yet part of a block
  bool ended_ = false;  ///< the source has no more
};

} // namespace flywheel
