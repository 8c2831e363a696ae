#include "deploy/server/json_text.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace flywheel {
namespace {

template <class T> void append_chars(std::string& out, T x) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), x).ptr;
  out.append(text.data(), static_cast<std::size_t>(end - text.data()));
}

bool is_plain(char c) noexcept {
  const auto u = static_cast<unsigned char>(c);
  return u >= 0x20 && u < 0x80 && c != '"' && c != '\\';
}

/// Bytes of the UTF-8 character at the start of `text`, 0 if there is none.
std::size_t character_bytes(std::string_view text) noexcept {
  for (std::size_t n = 1; n <= std::min<std::size_t>(4, text.size()); ++n)
    if (is_valid_utf8(text.substr(0, n)))
      return n;
  return 0;
}

} // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    std::size_t j = i;
    while (j < text.size() && is_plain(text[j]))
      ++j;
    out.append(text.substr(i, j - i));
    if (j == text.size())
      break;
    const auto u = static_cast<unsigned char>(text[j]);
    i = j + 1;
    if (u == '"' || u == '\\') {
      out += '\\';
      out += static_cast<char>(u);
    } else if (u == '\n') {
      out += "\\n";
    } else if (u < 0x20) {
      constexpr std::string_view hex = "0123456789abcdef";
      out += "\\u00";
      out += hex[u >> 4];
      out += hex[u & 15];
    } else if (const auto n = character_bytes(text.substr(j)); n > 0) {
      out.append(text.substr(j, n));
      i = j + n;
    } else {
      out += "\xef\xbf\xbd";
    }
  }
  out += '"';
}

void append_json_number(std::string& out, float x) {
  FLYWHEEL_ASSERT(std::isfinite(x), "JSON has no such number");
  append_chars(out, x);
}
void append_json_number(std::string& out, double x) {
  FLYWHEEL_ASSERT(std::isfinite(x), "JSON has no such number");
  append_chars(out, x);
}
void append_json_number(std::string& out, std::uint64_t x) { append_chars(out, x); }

} // namespace flywheel
