#pragma once
// bfloat16: the upper half of a float (8 bits of exponent, 7 of mantissa). Weights and activations travel in it; master
// weights and sums stay in float.

#include <bit>
#include <cstdint>
#include <span>

namespace flywheel::gpu {

struct bf16 {
  std::uint16_t bits = 0;
  bool operator==(const bf16&) const = default;
};

constexpr float to_float(bf16 x) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

/// To the nearest, ties to even. Overflow gives infinity; a NaN stays a (quiet) NaN of its sign.
constexpr bf16 to_bf16(float x) noexcept {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const bool is_nan = (u & 0x7FFFFFFFu) > 0x7F800000u;
  const std::uint32_t rounded = u + 0x7FFFu + ((u >> 16) & 1u);
  return {static_cast<std::uint16_t>(is_nan ? (u >> 16) | 0x0040u : rounded >> 16)};
}

/// Element by element; both have one size.
void to_bf16(std::span<const float> from, std::span<bf16> to);
void to_float(std::span<const bf16> from, std::span<float> to);

} // namespace flywheel::gpu
