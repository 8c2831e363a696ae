#pragma once
// Small text helpers shared by everything that talks to people.

#include "cluster/base/error.hpp"

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// Optimal string alignment distance (insert, delete, replace, swap of neighbours), in bytes.
std::size_t edit_distance(std::string_view a, std::string_view b);
/// The candidate nearest to `word` if it is near enough to be a typo (distance <= 1 + size/4), else empty.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);
std::string_view nearest(std::string_view word, const std::vector<std::string>& candidates);

std::string_view trim(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string lower(std::string_view text);
bool is_valid_utf8(std::string_view text) noexcept;

/// "90s", "15m", "2h", "1d", "250ms" or a sum such as "1h30m"; bare numbers are refused (no unit).
result<std::chrono::nanoseconds> parse_duration(std::string_view text);
/// "512", "64KiB", "256MiB", "2GB" -> bytes.
result<std::uint64_t> parse_bytes(std::string_view text);
/// "3.2s", "450ms", "1h02m"
std::string format_duration(std::chrono::nanoseconds d);
/// "1.5 GiB"
std::string format_bytes(std::uint64_t bytes);
/// Shortest text that reads back as the same double; "nan", "inf" for those.
std::string format_number(double x);
/// "95.92 %"
std::string format_percent(double fraction, int digits = 2);
/// Control bytes as \xNN and cut to `max_bytes` at a character boundary with "..."; safe for a terminal.
std::string printable(std::string_view text, std::size_t max_bytes = 200);

} // namespace flywheel
