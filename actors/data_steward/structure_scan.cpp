#include "actors/data_steward/structure_scan.hpp"

namespace flywheel {
namespace detail {

/// After the newline that ends the last whole record before `from`, a place outside quotes (`open`: inside).
/// Going backwards each quote toggles, whatever its part is.
std::size_t last_record_end(const char* text, std::size_t from, bool open) noexcept {
  for (std::size_t i = from; i > 0; --i) {
    if (text[i - 1] == '"')
      open = !open;
    else if (text[i - 1] == '\n' && !open)
      return i;
  }
  return 0;
}

} // namespace detail

namespace {

quote_scan scan_quotes_plain(const char* text, std::size_t size, char separator) {
  enum class place { cell_start, unquoted, quoted, closed, closed_cr } at = place::cell_start;
  quote_scan out;
  for (std::size_t i = 0; i < size && out.stray == nowhere; ++i) {
    const char c = text[i];
    switch (at) {
    case place::quoted:
      if (c == '"')
        at = place::closed;
      break;
    case place::closed: // a quote here was the first of an escaped pair
      if (c == '"')
        at = place::quoted;
      else if (c == separator || c == '\n')
        at = place::cell_start;
      else if (c == '\r')
        at = place::closed_cr;
      else
        out.stray = i;
      break;
    case place::closed_cr:
      if (c == '\n')
        at = place::cell_start;
      else
        out.stray = i;
      break;
    case place::cell_start:
    case place::unquoted:
      if (c == '"') {
        if (at == place::unquoted)
          out.stray = i;
        else
          at = place::quoted;
      } else {
        at = c == separator || c == '\n' ? place::cell_start : place::unquoted;
      }
      break;
    }
  }
  out.open = out.stray == nowhere && at == place::quoted;
  out.records_end = detail::last_record_end(text, out.stray == nowhere ? size : out.stray, out.open);
  return out;
}

separator_index index_plain(const char* text, std::size_t size, char separator, std::uint32_t* out) {
  separator_index index;
  bool open = false;
  for (std::size_t i = 0; i < size; ++i) {
    const char c = text[i];
    if (c == '"')
      open = !open;
    index.lines += c == '\n';
    index.non_ascii |= static_cast<unsigned char>(c) >= 0x80;
    index.nul |= c == '\0';
    if (!open && (c == separator || c == '\n')) {
      out[index.count++] = static_cast<std::uint32_t>(i);
      index.records += c == '\n';
    }
  }
  return index;
}

constexpr structure_scanner plain{"plain", scan_quotes_plain, index_plain};

} // namespace

const structure_scanner& plain_scanner() noexcept { return plain; }

} // namespace flywheel
