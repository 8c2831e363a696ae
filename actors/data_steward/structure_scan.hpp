#pragma once
// Where cells and records end in CSV text (RFC 4180), 64 bytes at a time. Two versions of each function, equal in every
// answer: `plain` is the explanation and runs anywhere, `wide` needs AVX2 and PCLMULQDQ. scanner() picks one for this CPU.
// All texts must have `scan_padding` readable bytes before their beginning and after their end.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace flywheel {

inline constexpr std::size_t scan_padding = 64;
inline constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

/// What a look at the quotes tells. Text begins at the start of a record, outside quotes.
struct quote_scan {
  std::size_t records_end = 0;     ///< after the newline of the last whole record before `stray`; 0: none is whole
  std::size_t stray = nowhere;     ///< first byte that breaks the rules: a quote inside an unquoted cell, or what follows
                                   ///< a closing quote and is neither separator, newline, CR + newline nor a quote
  bool open = false;               ///< no stray, and the text ends inside quotes
  bool operator==(const quote_scan&) const = default;
};

/// What the index of a piece of text holds besides the positions.
struct separator_index {
  std::size_t count = 0;           ///< separators and newlines outside quotes
  std::size_t records = 0;         ///< newlines outside quotes
  std::size_t lines = 0;           ///< all newlines
  bool non_ascii = false, nul = false;
  bool operator==(const separator_index&) const = default;
};

struct structure_scanner {
  std::string_view name;
  quote_scan (*scan_quotes)(const char* text, std::size_t size, char separator);
  /// Writes the position of each separator and newline outside quotes to `out`, which has room for size + 64 entries.
  separator_index (*index)(const char* text, std::size_t size, char separator, std::uint32_t* out);
};

const structure_scanner& plain_scanner() noexcept;
/// The best for this CPU.
const structure_scanner& best_scanner() noexcept;

} // namespace flywheel
