#include "deploy/server/traffic_split.hpp"

#include "cluster/base/random.hpp"

namespace flywheel {

double split_point(std::string_view key, std::string_view salt) noexcept {
  const std::uint64_t h = stable_hash(key, stable_hash(salt));
  return static_cast<double>(h >> 11) * 0x1p-53 * 100.0;
}

bool goes_to_challenger(std::string_view key, std::string_view salt, double percent) noexcept {
  if (percent <= 0)
    return false;
  return percent >= 100 || split_point(key, salt) < percent;
}

} // namespace flywheel
