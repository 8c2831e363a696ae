#include "actors/client/terminal.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace flywheel {
namespace {

struct code_point {
  std::uint32_t value;
  std::size_t bytes;
};

/// The first character of non-empty text; a byte that starts no valid sequence is a character of its own.
code_point first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  const std::size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (length <= 1 || length > text.size())
    return {lead, 1};
  std::uint32_t value = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0u) != 0x80u)
      return {lead, 1};
    value = (value << 6) | (byte(i) & 0x3fu);
  }
  return {value, length};
}

struct range {
  std::uint32_t first, last;
};

// Unicode 15: general categories Mn, Me and Cf in the blocks that occur in names and cells, and the zero-width characters.
constexpr std::array zero_width{range{0x0300, 0x036f}, range{0x0483, 0x0489}, range{0x0591, 0x05bd}, range{0x0610, 0x061a},
                                range{0x064b, 0x065f}, range{0x06d6, 0x06dc}, range{0x0900, 0x0902}, range{0x093c, 0x093c},
                                range{0x0941, 0x0948}, range{0x094d, 0x094d}, range{0x0e31, 0x0e31}, range{0x0e34, 0x0e3a},
                                range{0x0e47, 0x0e4e}, range{0x1ab0, 0x1aff}, range{0x1dc0, 0x1dff}, range{0x200b, 0x200f},
                                range{0x202a, 0x202e}, range{0x2060, 0x2064}, range{0x20d0, 0x20ff}, range{0xfe00, 0xfe0f},
                                range{0xfe20, 0xfe2f}, range{0xfeff, 0xfeff}, range{0xe0100, 0xe01ef}};
// East Asian Width W and F, and emoji shown wide.
constexpr std::array double_width{range{0x1100, 0x115f}, range{0x231a, 0x231b}, range{0x23e9, 0x23ec}, range{0x25fd, 0x25fe},
                                  range{0x2614, 0x2615}, range{0x26a1, 0x26a1}, range{0x26bd, 0x26be}, range{0x2705, 0x2705},
                                  range{0x270a, 0x270b}, range{0x274c, 0x274c}, range{0x2753, 0x2755}, range{0x2795, 0x2797},
                                  range{0x2e80, 0x303e}, range{0x3041, 0x33ff}, range{0x3400, 0x4dbf}, range{0x4e00, 0x9fff},
                                  range{0xa000, 0xa4cf}, range{0xa960, 0xa97f}, range{0xac00, 0xd7a3}, range{0xf900, 0xfaff},
                                  range{0xfe30, 0xfe6f}, range{0xff00, 0xff60}, range{0xffe0, 0xffe6}, range{0x1f300, 0x1f64f},
                                  range{0x1f680, 0x1f6ff}, range{0x1f900, 0x1faff}, range{0x20000, 0x3fffd}};

template <std::size_t N> bool contains(const std::array<range, N>& ranges, std::uint32_t c) {
  const auto i = std::upper_bound(ranges.begin(), ranges.end(), c, [](std::uint32_t v, const range& r) { return v < r.first; });
  return i != ranges.begin() && c <= std::prev(i)->last;
}

std::size_t width_of(const code_point& c) {
  if (c.bytes == 1)
    return 1;
  return contains(zero_width, c.value) ? 0 : contains(double_width, c.value) ? 2 : 1;
}

/// Length of the escape sequence at the start ("\x1b[...m"), or 0.
std::size_t escape_length(std::string_view text) {
  if (!text.starts_with("\x1b["))
    return 0;
  const auto end = text.find('m');
  return end == std::string_view::npos ? 0 : end + 1;
}

} // namespace

std::optional<std::string> environment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

bool wants_colour(const colour_question& q) {
  if (q.refused || !q.lookup("NO_COLOR").value_or("").empty())
    return false;
  if (const auto force = q.lookup("CLICOLOR_FORCE"); force && !force->empty() && *force != "0")
    return true;
  return q.is_terminal && q.lookup("TERM").value_or("dumb") != "dumb";
}

terminal terminal_of(int fd, bool colour_refused) {
  terminal t;
  t.is_terminal = isatty(fd) == 1;
  t.colour = wants_colour({t.is_terminal, colour_refused, environment});
  winsize size{};
  if (t.is_terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    t.columns = size.ws_col;
  else if (const auto columns = environment("COLUMNS"))
    std::from_chars(columns->data(), columns->data() + columns->size(), t.columns);
  t.columns = std::clamp<std::size_t>(t.columns, 20, 10'000);
  return t;
}

std::string painted(std::string_view text, ink colour_of_text, bool colour) {
  if (!colour || colour_of_text == ink::plain || text.empty())
    return std::string(text);
  constexpr std::array<std::string_view, 6> codes{"0", "1", "2", "31", "32", "33"};
  return "\x1b[" + std::string(codes[static_cast<std::size_t>(colour_of_text)]) + "m" + std::string(text) + "\x1b[0m";
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    if (const auto escape = escape_length(text)) {
      text.remove_prefix(escape);
      continue;
    }
    const auto c = first_code_point(text);
    width += width_of(c);
    text.remove_prefix(c.bytes);
  }
  return width;
}

std::string cut_to_width(std::string_view text, std::size_t columns) {
  if (display_width(text) <= columns)
    return std::string(text);
  std::string cut;
  std::size_t width = 0;
  while (!text.empty()) {
    const auto c = first_code_point(text);
    if (width + width_of(c) + 1 > columns)
      break;
    width += width_of(c);
    cut += text.substr(0, c.bytes);
    text.remove_prefix(c.bytes);
  }
  return columns == 0 ? std::string{} : cut + "\u2026";
}

} // namespace flywheel
