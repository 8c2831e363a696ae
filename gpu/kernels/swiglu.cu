// swiglu.hpp on the GPU: a thread makes one element from its gate and its up. Bound by memory.

#include "gpu/kernels/launch.cuh"

namespace flywheel::gpu::cuda {

int swiglu_forward(const float* x, float* y, std::uint64_t rows, std::uint64_t width, void* stream) {
  return for_each_element(rows * width, stream, [=] __device__(std::uint64_t i) {
    const std::uint64_t at = i / width * 2 * width + i % width;
    const float gate = x[at];
    y[i] = gate / (1.0f + expf(-gate)) * x[at + width];
  });
}

int swiglu_backward(const float* dy, float* x, std::uint64_t rows, std::uint64_t width, void* stream) {
  return for_each_element(rows * width, stream, [=] __device__(std::uint64_t i) {
    const std::uint64_t at = i / width * 2 * width + i % width;
    const float gate = x[at], up = x[at + width], s = 1.0f / (1.0f + expf(-gate)), silu = gate * s;
    x[at] = dy[i] * up * (s + silu * (1.0f - s));
    x[at + width] = dy[i] * silu;
  });
}

} // namespace flywheel::gpu::cuda
