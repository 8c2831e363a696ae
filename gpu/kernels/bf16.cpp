#include "gpu/kernels/bf16.hpp"

#include "cluster/base/assert.hpp"
#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

namespace flywheel::gpu {

namespace {
constexpr std::size_t elements_a_part = 1u << 16;
}

void to_bf16(std::span<const float> from, std::span<bf16> to) {
  FLYWHEEL_ASSERT(from.size() == to.size(), "a conversion keeps the size");
  parallel_ranges(from.size(), elements_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      const float* a = from.data();
      bf16* b = to.data();
#pragma omp simd
      for (std::size_t i = first; i < last; ++i)
        b[i] = to_bf16(a[i]);
    });
  });
}

void to_float(std::span<const bf16> from, std::span<float> to) {
  FLYWHEEL_ASSERT(from.size() == to.size(), "a conversion keeps the size");
  parallel_ranges(from.size(), elements_a_part, [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      const bf16* a = from.data();
      float* b = to.data();
#pragma omp simd
      for (std::size_t i = first; i < last; ++i)
        b[i] = to_float(a[i]);
    });
  });
}

} // namespace flywheel::gpu
