// activation.hpp on the GPU: GELU and ReLU, an element a thread. Bound by memory: 8 bytes forward, 12 backward.

#include "gpu/kernels/launch.cuh"

namespace flywheel::gpu::cuda {

constexpr float gelu_root = 0.7978845608028654f, gelu_cubic = 0.044715f;

int gelu_forward(const float* x, float* y, std::uint64_t size, void* stream) {
  return for_each_element(size, stream, [=] __device__(std::uint64_t i) {
    const float v = x[i];
    y[i] = 0.5f * v * (1.0f + tanhf(gelu_root * (v + gelu_cubic * v * v * v)));
  });
}

int gelu_backward(const float* dy, const float* x, float* dx, std::uint64_t size, void* stream) {
  return for_each_element(size, stream, [=] __device__(std::uint64_t i) {
    const float v = x[i], t = tanhf(gelu_root * (v + gelu_cubic * v * v * v));
    dx[i] = dy[i] * (0.5f * (1.0f + t) + 0.5f * v * (1.0f - t * t) * gelu_root * (1.0f + 3.0f * gelu_cubic * v * v));
  });
}

int relu_forward(const float* x, float* y, std::uint64_t size, void* stream) {
  return for_each_element(size, stream, [=] __device__(std::uint64_t i) { y[i] = x[i] > 0 ? x[i] : 0.0f; });
}

int relu_backward(const float* dy, const float* x, float* dx, std::uint64_t size, void* stream) {
  return for_each_element(size, stream, [=] __device__(std::uint64_t i) { dx[i] = x[i] > 0 ? dy[i] : dy[i] * 0.0f; });
}

} // namespace flywheel::gpu::cuda
