// dropout.hpp on the GPU: the same function of (seed, step, site, element), so the same mask to the bit. A thread draws
// one block of 128 bits and decides eight elements.

#include "gpu/kernels/launch.cuh"
#include "gpu/philox.hpp"

namespace flywheel::gpu::cuda {

int dropout(float* x, std::uint64_t size, double rate, std::uint64_t seed, std::uint64_t step, std::uint32_t site, void* stream) {
  if (rate == 0)
    return 0;
  const auto threshold = static_cast<std::uint32_t>(rate * 65536);
  const float scale = 1.0f / static_cast<float>(1 - static_cast<double>(threshold) / 65536);
  const philox_key key{seed};
  return for_each_element((size + 7) / 8, stream, [=] __device__(std::uint64_t n) {
    const auto bits = philox(key, {static_cast<std::uint32_t>(n), site, static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)});
    for (unsigned k = 0; k < 8 && n * 8 + k < size; ++k) {
      const std::uint32_t draw = (bits[k / 2] >> (16 * (k % 2))) & 0xFFFFu;
      x[n * 8 + k] = draw < threshold ? 0.0f : x[n * 8 + k] * scale;
    }
  });
}

} // namespace flywheel::gpu::cuda
