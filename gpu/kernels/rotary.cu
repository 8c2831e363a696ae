// rotary.hpp on the GPU: a thread turns one pair.

#include "gpu/kernels/launch.cuh"

namespace flywheel::gpu::cuda {

int rotary(float* x, std::uint64_t stride, std::uint64_t rows, std::uint64_t heads, std::uint64_t head_width, std::uint64_t time,
           const float* cosines, const float* sines, float sign, void* stream) {
  const std::uint64_t half = head_width / 2;
  return for_each_element(rows * heads * half, stream, [=] __device__(std::uint64_t n) {
    const std::uint64_t j = n % half, head = n / half % heads, i = n / half / heads, t = i % time;
    float *a = x + i * stride + head * head_width + j, *b = a + half;
    const float c = cosines[t * half + j], s = sign * sines[t * half + j], from_a = *a, from_b = *b;
    *a = from_a * c - from_b * s;
    *b = from_b * c + from_a * s;
  });
}

} // namespace flywheel::gpu::cuda
