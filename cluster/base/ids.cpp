#include "cluster/base/ids.hpp"

#include "cluster/base/assert.hpp"

#include <sys/random.h>

namespace flywheel {

std::string make_id(std::string_view prefix, wall_time now, std::uint64_t entropy) {
  constexpr std::string_view digits = "0123456789abcdefghjkmnpqrstvwxyz";
  std::string id{prefix};
  const auto put = [&](std::uint64_t value, int count) {
    id += '-';
    for (int i = count - 1; i >= 0; --i)
      id += digits[value >> (5 * i) & 31];
  };
  put(static_cast<std::uint64_t>(now.ns / 1'000'000), 10);
  put(entropy, 8);
  return id;
}

std::uint64_t os_entropy() {
  std::uint64_t value = 0;
  const auto got = ::getrandom(&value, sizeof value, 0);
  FLYWHEEL_ASSERT(got == sizeof value, "getrandom of 8 bytes never fails on Linux");
  return value;
}

bool is_valid_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > 64 || name.front() == '.' || name.front() == '-')
    return false;
  for (const char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
      return false;
  return true;
}

} // namespace flywheel
