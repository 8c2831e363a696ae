#include "actors/data_steward/cell_parsers.hpp"

#include "cluster/base/text.hpp"

#include <charconv>
#include <chrono>
#include <cmath>

#include <fast_float/fast_float.h>

namespace flywheel {
namespace {

/// `digits` decimal digits from the front of `text`, as a value between `low` and `high`.
std::optional<int> take_digits(std::string_view& text, std::size_t digits, int low, int high) noexcept {
  if (text.size() < digits)
    return std::nullopt;
  int value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9')
      return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return value < low || value > high ? std::nullopt : std::optional{value};
}

bool take(std::string_view& text, char c) noexcept {
  if (text.empty() || text.front() != c)
    return false;
  text.remove_prefix(1);
  return true;
}

} // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
  if (text.size() > 1 && text.front() == '+' && text[1] != '-')
    text.remove_prefix(1);
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

std::optional<double> parse_number(std::string_view text) noexcept {
  if (text.size() > 1 && text.front() == '+' && text[1] != '-')
    text.remove_prefix(1);
  double value = 0;
  const auto [end, code] = fast_float::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

std::optional<bool> parse_boolean(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5)
    return std::nullopt;
  char folded[5];
  for (std::size_t i = 0; i < text.size(); ++i)
    folded[i] = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + 32) : text[i];
  const std::string_view word{folded, text.size()};
  if (word == "true" || word == "yes" || word == "t" || word == "y" || word == "1")
    return true;
  if (word == "false" || word == "no" || word == "f" || word == "n" || word == "0")
    return false;
  return std::nullopt;
}

std::optional<std::int64_t> parse_timestamp(std::string_view text) noexcept {
  namespace ch = std::chrono;
  const auto y = take_digits(text, 4, 1678, 2261);
  if (!y || !take(text, '-'))
    return std::nullopt;
  const auto m = take_digits(text, 2, 1, 12);
  if (!m || !take(text, '-'))
    return std::nullopt;
  const auto d = take_digits(text, 2, 1, 31);
  if (!d)
    return std::nullopt;
  const ch::year_month_day day{ch::year{*y}, ch::month{static_cast<unsigned>(*m)}, ch::day{static_cast<unsigned>(*d)}};
  if (!day.ok())
    return std::nullopt;
  std::int64_t ns = ch::duration_cast<ch::nanoseconds>(ch::sys_days{day}.time_since_epoch()).count();
  if (text.empty())
    return ns;
  if (!take(text, 'T') && !take(text, ' '))
    return std::nullopt;
  const auto hour = take_digits(text, 2, 0, 23);
  if (!hour || !take(text, ':'))
    return std::nullopt;
  const auto minute = take_digits(text, 2, 0, 59);
  if (!minute)
    return std::nullopt;
  std::int64_t seconds = *hour * 3600 + *minute * 60;
  if (take(text, ':')) {
    const auto second = take_digits(text, 2, 0, 60); // 60: a leap second, counted into the next minute
    if (!second)
      return std::nullopt;
    seconds += *second;
    if (take(text, '.')) {
      std::int64_t unit = 100'000'000;
      std::size_t digits = 0;
      for (; !text.empty() && text.front() >= '0' && text.front() <= '9' && digits < 9; ++digits, unit /= 10) {
        ns += (text.front() - '0') * unit;
        text.remove_prefix(1);
      }
      if (digits == 0)
        return std::nullopt;
    }
  }
  if (!text.empty() && !take(text, 'Z')) {
    const bool east = text.front() == '+';
    if (!take(text, '+') && !take(text, '-'))
      return std::nullopt;
    const auto hours = take_digits(text, 2, 0, 23);
    if (!hours)
      return std::nullopt;
    take(text, ':');
    const auto minutes = take_digits(text, 2, 0, 59);
    if (!minutes)
      return std::nullopt;
    seconds -= (*hours * 3600 + *minutes * 60) * (east ? 1 : -1);
  }
  if (!text.empty())
    return std::nullopt;
  return ns + seconds * 1'000'000'000;
}

} // namespace flywheel
