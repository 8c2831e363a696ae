#pragma once
// Names that machines make. Readable, sortable by time, unguessable enough to be unique, never secret.

#include "cluster/base/clock.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace flywheel {

/// "g-01hf7zk3q8-4fj2x9a1": prefix, 10 characters of milliseconds, 8 of entropy (Crockford base 32, lower case).
/// `entropy` comes from the caller (os_entropy() outside tests), so that tests and the simulation replay.
std::string make_id(std::string_view prefix, wall_time now, std::uint64_t entropy);
/// 64 bits from the operating system (getrandom).
std::uint64_t os_entropy();
/// Letters, digits, '-', '_' and '.', 1 to 64 characters, no leading '.' or '-': safe as a file name and in a URL.
bool is_valid_name(std::string_view name) noexcept;

} // namespace flywheel
