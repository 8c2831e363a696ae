#pragma once
// Rows of floats inside a message, as one string: exact for every value, and the only fast path of CAF's serialisers
// (caf.md 6.1). Machine byte order; nodes of one cluster share it (x86-64, little-endian).

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

inline std::string pack_floats(const std::vector<float>& xs) {
  std::string out(xs.size() * sizeof(float), '\0');
  if (!xs.empty())
    std::memcpy(out.data(), xs.data(), out.size());
  return out;
}

/// A length that is no multiple of 4 loses its odd bytes; the receiver compares the count with what it expects.
inline std::vector<float> unpack_floats(std::string_view bytes) {
  std::vector<float> xs(bytes.size() / sizeof(float));
  if (!xs.empty())
    std::memcpy(xs.data(), bytes.data(), xs.size() * sizeof(float));
  return xs;
}

} // namespace flywheel
