#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

namespace flywheel {
namespace {

struct unit {
  std::string_view name;
  double factor;
};

constexpr std::array duration_units{unit{"ns", 1}, unit{"us", 1e3}, unit{"ms", 1e6}, unit{"s", 1e9},
                                    unit{"m", 60e9}, unit{"h", 3600e9}, unit{"d", 86400e9}};
constexpr std::array byte_units{unit{"", 1}, unit{"B", 1}, unit{"KB", 1e3}, unit{"MB", 1e6}, unit{"GB", 1e9},
                                unit{"TB", 1e12}, unit{"KiB", 0x1p10}, unit{"MiB", 0x1p20}, unit{"GiB", 0x1p30},
                                unit{"TiB", 0x1p40}};

template <std::size_t N> const unit* find_unit(const std::array<unit, N>& units, std::string_view name) {
  const auto i = std::find_if(units.begin(), units.end(), [&](const unit& u) { return u.name == name; });
  return i == units.end() ? nullptr : &*i;
}

/// Reads a leading non-negative number and removes it from `text`.
std::optional<double> take_number(std::string_view& text) {
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || value < 0 || !std::isfinite(value))
    return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

template <class Range> std::string_view nearest_in(std::string_view word, const Range& candidates) {
  std::string_view best;
  std::size_t best_distance = 2 + word.size() / 4;
  for (std::string_view c : candidates)
    if (const auto d = edit_distance(lower(word), lower(c)); d < best_distance) {
      best_distance = d;
      best = c;
    }
  return best;
}

std::string printf_double(const char* format, double x) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, x);
  return text.data();
}

} // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  a = a.substr(0, 64); // typos are short; a hostile key must not cost a quadratic table
  b = b.substr(0, 64);
  std::array<std::array<std::size_t, 65>, 3> rows{};
  for (std::size_t j = 0; j <= b.size(); ++j)
    rows[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto& now = rows[i % 3];
    auto& up = rows[(i + 2) % 3];
    auto& up2 = rows[(i + 1) % 3];
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({up[j] + 1, now[j - 1] + 1, up[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = std::min(now[j], up2[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  return nearest_in(word, candidates);
}
std::string_view nearest(std::string_view word, const std::vector<std::string>& candidates) {
  return nearest_in(word, candidates);
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n\v\f";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos)
    return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos)
      return parts;
    text.remove_prefix(at + 1);
  }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0)
      out += separator;
    out += parts[i];
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out{text};
  for (char& c : out)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool is_valid_utf8(std::string_view text) noexcept {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) {
    if (*p < 0x80) {
      ++p;
      continue;
    }
    const int extra = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
    if (*p < 0xc2 || *p > 0xf4 || end - p <= extra)
      return false;
    std::uint32_t code = *p & (0x3fU >> extra);
    for (int i = 1; i <= extra; ++i) {
      if ((p[i] & 0xc0) != 0x80)
        return false;
      code = code << 6 | (p[i] & 0x3fU);
    }
    constexpr std::array<std::uint32_t, 4> least{0, 0x80, 0x800, 0x10000};
    if (code < least[static_cast<std::size_t>(extra)] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
      return false;
    p += extra + 1;
  }
  return true;
}

result<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  std::string_view rest = trim(text);
  double total = 0;
  const auto bad = [&] {
    return error{errc::invalid_argument, "'" + printable(text, 40) + "' is not a duration", {},
                 "write a number with a unit, such as 90s, 15m, 2h or 1h30m"};
  };
  if (rest.empty())
    return bad();
  while (!rest.empty()) {
    const auto number = take_number(rest);
    if (!number)
      return bad();
    const auto length = std::min(rest.find_first_of("0123456789. "), rest.size());
    const unit* u = find_unit(duration_units, rest.substr(0, length));
    if (u == nullptr)
      return bad();
    total += *number * u->factor;
    rest = trim(rest.substr(length));
  }
  if (total > 9.2e18)
    return error{errc::too_large, "duration " + printable(text, 40) + " exceeds 292 years"};
  return std::chrono::nanoseconds{static_cast<std::int64_t>(total)};
}

result<std::uint64_t> parse_bytes(std::string_view text) {
  std::string_view rest = trim(text);
  const auto number = take_number(rest);
  const unit* u = number ? find_unit(byte_units, trim(rest)) : nullptr;
  if (u == nullptr)
    return error{errc::invalid_argument, "'" + printable(text, 40) + "' is not a size in bytes", {},
                 "write a number with a unit, such as 256MiB or 2GB"};
  const double total = *number * u->factor;
  if (total > 9.2e18)
    return error{errc::too_large, "size " + printable(text, 40) + " exceeds 8 EiB"};
  return static_cast<std::uint64_t>(total);
}

std::string format_duration(std::chrono::nanoseconds d) {
  const double s = static_cast<double>(d.count()) / 1e9;
  if (s < 0)
    return "-" + format_duration(-d);
  if (s < 1e-3)
    return printf_double("%.0fus", s * 1e6);
  if (s < 1)
    return printf_double("%.0fms", s * 1e3);
  if (s < 60)
    return printf_double("%.1fs", s);
  const auto whole = static_cast<long long>(s);
  std::array<char, 64> text{};
  if (whole < 3600)
    std::snprintf(text.data(), text.size(), "%lldm%02llds", whole / 60, whole % 60);
  else
    std::snprintf(text.data(), text.size(), "%lldh%02lldm", whole / 3600, whole / 60 % 60);
  return text.data();
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array names{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double x = static_cast<double>(bytes);
  std::size_t i = 0;
  for (; x >= 1024 && i + 1 < names.size(); ++i)
    x /= 1024;
  return printf_double(i == 0 ? "%.0f " : "%.1f ", x) + names[i];
}

std::string format_number(double x) {
  if (std::isnan(x))
    return "nan";
  if (std::isinf(x))
    return x > 0 ? "inf" : "-inf";
  std::array<char, 32> text{};
  const auto [end, code] = std::to_chars(text.data(), text.data() + text.size(), x);
  return code == std::errc{} ? std::string{text.data(), end} : printf_double("%.17g", x);
}

std::string format_percent(double fraction, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f %%", digits, fraction * 100);
  return text.data();
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  bool cut = text.size() > max_bytes;
  std::string_view kept = text.substr(0, max_bytes);
  const bool utf8 = is_valid_utf8(text.substr(0, std::min(text.size(), max_bytes + 4))) || is_valid_utf8(text);
  if (cut && utf8)
    while (!kept.empty() && (static_cast<unsigned char>(text[kept.size()]) & 0xc0) == 0x80)
      kept.remove_suffix(1);
  std::string out;
  for (const char c : kept) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f || (!utf8 && u >= 0x80)) {
      std::array<char, 8> hex{};
      std::snprintf(hex.data(), hex.size(), "\\x%02x", u);
      out += hex.data();
    } else {
      out += c;
    }
  }
  return cut ? out + "..." : out;
}

} // namespace flywheel
