#pragma once
// Numbers below 1e-38 (denormals) take a slow path in the processor, and an optimiser's moments of weights that no row
// touches fade into that range. While one of these lives, its thread treats them as zero.

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace flywheel::gpu {

/// Lives on the stack of one thread; restores what was set before. Does nothing on processors other than x86-64.
class without_denormals {
public:
#if defined(__SSE2__)
  without_denormals() noexcept : before_(_mm_getcsr()) { _mm_setcsr(before_ | flush_results | flush_operands); }
  ~without_denormals() { _mm_setcsr(before_); }
#else
  without_denormals() noexcept {}
#endif
  without_denormals(const without_denormals&) = delete;
  without_denormals& operator=(const without_denormals&) = delete;

#if defined(__SSE2__)
private:
  static constexpr unsigned flush_results = 0x8000, flush_operands = 0x0040; // FTZ and DAZ in MXCSR
  unsigned before_;
#endif
};

} // namespace flywheel::gpu
