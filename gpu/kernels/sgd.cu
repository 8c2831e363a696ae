// sgd.hpp on the GPU: one pass.

#include "gpu/kernels/launch.cuh"

namespace flywheel::gpu::cuda {

int sgd(float* weights, const float* gradient, float* velocity, std::uint64_t size, double rate, double decay, double momentum,
        int nesterov, void* stream) {
  const auto keep = static_cast<float>(1 - rate * decay), r = static_cast<float>(rate), m = static_cast<float>(momentum);
  const float ahead = nesterov != 0 ? m : 1.0f, now = nesterov != 0 ? 1.0f : 0.0f;
  return for_each_element(size, stream, [=] __device__(std::uint64_t i) {
    const float g = gradient[i], v = m * velocity[i] + g;
    velocity[i] = v;
    weights[i] = keep * weights[i] - r * (now * g + ahead * v);
  });
}

} // namespace flywheel::gpu::cuda
