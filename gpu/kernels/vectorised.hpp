#pragma once
// Loops over numbers, compiled twice: for every x86-64, and for those with AVX2 and FMA, picked at run time. Inside,
// loops are written plainly and left to the compiler; sums and maxima need `#pragma omp simd reduction(...)`, which
// permits their reordering (no OpenMP library is involved).

#include <bit>
#include <cmath>
#include <cstdint>

#if defined(__x86_64__)
#define FLYWHEEL_WIDE [[gnu::target("avx2,fma"), gnu::flatten, gnu::noinline]]
#else
#define FLYWHEEL_WIDE [[gnu::noinline]]
#endif

namespace flywheel::gpu {

namespace detail {
template <class F> FLYWHEEL_WIDE void run_wide(const F& f) { f(); }
template <class F> [[gnu::flatten, gnu::noinline]] void run_plain(const F& f) { f(); }
inline bool processor_is_wide() {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return wide;
#else
  return false;
#endif
}
} // namespace detail

/// f(), with everything it calls inlined and compiled for the processor at hand.
template <class F> void vectorised(const F& f) {
  if (detail::processor_is_wide())
    detail::run_wide(f);
  else
    detail::run_plain(f);
}

/// e^x to 2 ulp in [-87.3, 88.3], clamped outside (so e^-infinity is 1e-38, not 0); NaN stays NaN. The float version has
/// no branch, so that loops around it become vector code: x = n ln 2 + r, |r| <= ln 2 / 2, e^x = 2^n p(r), p a minimax
/// polynomial of degree 6 (coefficients: Cephes, expf).
inline float fast_exp(float x) noexcept {
  x = x < -87.3f ? -87.3f : x;
  x = x > 88.3f ? 88.3f : x;
  constexpr float shift = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  const float shifted = x * 1.44269504088896341f + shift;
  const float n = shifted - shift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const std::uint32_t power = (std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(shift) + 127u) << 23;
  return p * std::bit_cast<float>(power);
}
inline double fast_exp(double x) noexcept { return std::exp(x); }

/// tanh x = 1 - 2 / (e^2x + 1); absolute error below 2e-7 in float.
template <class T> inline T fast_tanh(T x) noexcept { return T(1) - T(2) / (fast_exp(T(2) * x) + T(1)); }

/// 1 / (1 + e^-x)
template <class T> inline T sigmoid(T x) noexcept { return T(1) / (T(1) + fast_exp(-x)); }

} // namespace flywheel::gpu
