#pragma once
// Writing JSON by appending to a string; for answers on the hot path.

#include <cstdint>
#include <string>
#include <string_view>

namespace flywheel {

/// Quoted and escaped; bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);
/// Shortest text that reads back as the same float. `x` must be finite.
void append_json_number(std::string& out, float x);
void append_json_number(std::string& out, double x);
void append_json_number(std::string& out, std::uint64_t x);

} // namespace flywheel
