// adamw.hpp on the GPU: one pass over weights, gradient and moments, which also writes the bf16 copy that the next forward
// reads; clipping costs no pass of its own, for the factor is applied as the gradient is read.

#include "gpu/kernels/launch.cuh"
#include "gpu/operations.hpp"

#include <cmath>
#include <cuda_bf16.h>

namespace flywheel::gpu::cuda {

constexpr unsigned norm_blocks = 1024; // fixed, so that the order of the sum does not depend on the card

__global__ void squares_of_stretches(const float* g, std::uint64_t size, double* partial) {
  __shared__ double room[warp];
  double sum = 0;
  for (std::uint64_t i = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; i < size; i += std::uint64_t{blockDim.x} * gridDim.x)
    sum += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  sum = across_block(sum, 0.0, room, sum_of{});
  if (threadIdx.x == 0)
    partial[blockIdx.x] = sum;
}

__global__ void norm_of_partials(const double* partial, double norm_max, float* norm, float* scale) {
  __shared__ double room[warp];
  const double length = sqrt(across_block(partial[threadIdx.x], 0.0, room, sum_of{}));
  if (threadIdx.x == 0) {
    *norm = static_cast<float>(length);
    *scale = length > norm_max ? static_cast<float>(norm_max / length) : 1.0f;
  }
}

int clip_scale(const float* gradient, std::uint64_t size, double norm_max, double* partial, float* norm, float* scale, void* stream) {
  squares_of_stretches<<<norm_blocks, block_of_elements, 0, stream_of(stream)>>>(gradient, size, partial);
  norm_of_partials<<<1, norm_blocks, 0, stream_of(stream)>>>(partial, norm_max, norm, scale);
  return launched();
}

int adamw(const adamw_call* call, void* stream) {
  const adamw_call c = *call;
  const auto t = static_cast<double>(c.step);
  const auto b1 = static_cast<float>(c.beta1), b2 = static_cast<float>(c.beta2), epsilon = static_cast<float>(c.epsilon);
  const auto correct1 = static_cast<float>(1 / (1 - std::pow(c.beta1, t))), correct2 = static_cast<float>(1 / (1 - std::pow(c.beta2, t)));
  const auto keep = static_cast<float>(1 - c.rate * c.decay), rate = static_cast<float>(c.rate);
  return for_each_element(c.size, stream, [=] __device__(std::uint64_t i) {
    const float g = c.gradient_scale != nullptr ? c.gradient[i] * *c.gradient_scale : c.gradient[i];
    const float m = b1 * c.moment1[i] + (1.0f - b1) * g, v = b2 * c.moment2[i] + (1.0f - b2) * g * g;
    const float w = keep * c.weights[i] - rate * (m * correct1) / (sqrtf(v * correct2) + epsilon);
    c.moment1[i] = m;
    c.moment2[i] = v;
    c.weights[i] = w;
    if (c.narrow_weights != nullptr)
      c.narrow_weights[i] = __bfloat16_as_ushort(__float2bfloat16_rn(w));
  });
}

} // namespace flywheel::gpu::cuda
