#pragma once
// Text to values, strictly: a cell is a number only if all of it is. No locale, no blanks, no surprises.

#include <cstdint>
#include <optional>
#include <string_view>

namespace flywheel {

/// Optional sign and digits, within 64 bits.
std::optional<std::int64_t> parse_integer(std::string_view text) noexcept;
/// Decimal or exponent form, finite ("nan" and "inf" are no numbers here), correctly rounded.
std::optional<double> parse_number(std::string_view text) noexcept;
/// true/false, yes/no, t/f, y/n, 1/0 in any case.
std::optional<bool> parse_boolean(std::string_view text) noexcept;
/// ISO 8601: "2026-11-21", "2026-11-21T07:30", "... 07:30:11", "....123456789", then nothing (UTC), "Z" or "+01:00".
/// Nanoseconds since 1970-01-01 UTC; years 1678 to 2261.
std::optional<std::int64_t> parse_timestamp(std::string_view text) noexcept;

} // namespace flywheel
