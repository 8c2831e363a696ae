#pragma once
// Randomness by counting: the n-th number is a function of (key, n), so that any element of any step can be drawn again
// without keeping state. Philox4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

#include <array>
#include <cstdint>

namespace flywheel::gpu {

struct philox_key {
  std::uint32_t low = 0, high = 0;
  explicit constexpr philox_key(std::uint64_t seed)
      : low(static_cast<std::uint32_t>(seed)), high(static_cast<std::uint32_t>(seed >> 32)) {}
};

using philox_block = std::array<std::uint32_t, 4>;

/// 128 random bits for a 128-bit counter.
constexpr philox_block philox(philox_key key, philox_block c) noexcept {
  constexpr std::uint64_t multiplier0 = 0xD2511F53u, multiplier1 = 0xCD9E8D57u;
  constexpr std::uint32_t weyl0 = 0x9E3779B9u, weyl1 = 0xBB67AE85u;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = multiplier0 * c[0], b = multiplier1 * c[2];
    c = {static_cast<std::uint32_t>(b >> 32) ^ c[1] ^ key.low, static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ c[3] ^ key.high, static_cast<std::uint32_t>(a)};
    key.low += weyl0;
    key.high += weyl1;
  }
  return c;
}

} // namespace flywheel::gpu
