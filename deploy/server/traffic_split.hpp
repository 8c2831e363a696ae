#pragma once
// Who answers a request: a pure function of its key, so that one customer sees one model and a replay sees the same.

#include <cstdint>
#include <string_view>

namespace flywheel {

/// Where `key` falls in [0, 100), evenly spread and the same for ever. `salt` names the challenger, so that each rollout
/// begins with other customers.
double split_point(std::string_view key, std::string_view salt) noexcept;
/// True if the challenger takes this request at `percent` of the traffic. Raising the percentage keeps all whom the
/// challenger answered before. 0 is nobody, 100 everybody.
bool goes_to_challenger(std::string_view key, std::string_view salt, double percent) noexcept;

} // namespace flywheel
