// bf16.hpp on the GPU: rounded to the nearest, ties to even, as the CPU page does.

#include "gpu/kernels/launch.cuh"

#include <cuda_bf16.h>

namespace flywheel::gpu::cuda {

int to_bf16(const float* from, std::uint16_t* to, std::uint64_t size, void* stream) {
  return for_each_element(size, stream, [=] __device__(std::uint64_t i) { to[i] = __bfloat16_as_ushort(__float2bfloat16_rn(from[i])); });
}

int to_float(const std::uint16_t* from, float* to, std::uint64_t size, void* stream) {
  return for_each_element(size, stream, [=] __device__(std::uint64_t i) { to[i] = __bfloat162float(__ushort_as_bfloat16(from[i])); });
}

} // namespace flywheel::gpu::cuda
