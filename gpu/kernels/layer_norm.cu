// layer_norm.hpp on the GPU: a block a row; mean first, then the variance around it, as the CPU page does.

#include "gpu/kernels/launch.cuh"
#include "gpu/kernels/layer_norm.hpp"

namespace flywheel::gpu::cuda {

__global__ void layer_norm_rows(const float* x, const float* gain, const float* shift, float* y, float* mean,
                                float* inverse_deviation, std::uint64_t width) {
  __shared__ float room[warp];
  const float* from = x + blockIdx.x * width;
  float sum = 0, squares = 0;
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    sum += from[j];
  const float m = across_block(sum, 0.0f, room, sum_of{}) / static_cast<float>(width);
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    squares += (from[j] - m) * (from[j] - m);
  squares = across_block(squares, 0.0f, room, sum_of{});
  const float r = rsqrtf(squares / static_cast<float>(width) + static_cast<float>(layer_norm_epsilon));
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    y[blockIdx.x * width + j] = (from[j] - m) * r * gain[j] + shift[j];
  if (threadIdx.x == 0) {
    mean[blockIdx.x] = m;
    inverse_deviation[blockIdx.x] = r;
  }
}

__global__ void layer_norm_slopes(const float* dy, const float* x, const float* gain, const float* mean,
                                  const float* inverse_deviation, float* dx, std::uint64_t width, bool add) {
  __shared__ float room[warp];
  const std::uint64_t row = blockIdx.x * width;
  const float m = mean[blockIdx.x], r = inverse_deviation[blockIdx.x];
  float sum_g = 0, sum_gn = 0;
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x) {
    const float g = dy[row + j] * gain[j];
    sum_g += g;
    sum_gn += g * (x[row + j] - m) * r;
  }
  const float mean_g = across_block(sum_g, 0.0f, room, sum_of{}) / static_cast<float>(width);
  const float mean_gn = across_block(sum_gn, 0.0f, room, sum_of{}) / static_cast<float>(width);
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x) {
    const float d = r * (dy[row + j] * gain[j] - mean_g - (x[row + j] - m) * r * mean_gn);
    dx[row + j] = add ? dx[row + j] + d : d;
  }
}

int layer_norm_forward(const float* x, const float* gain, const float* shift, float* y, float* mean, float* inverse_deviation,
                       std::uint64_t rows, std::uint64_t width, void* stream) {
  if (rows == 0)
    return 0;
  layer_norm_rows<<<static_cast<unsigned>(rows), block_of_row, 0, stream_of(stream)>>>(x, gain, shift, y, mean, inverse_deviation, width);
  return launched();
}

int layer_norm_backward(const float* dy, const float* x, const float* gain, const float* mean, const float* inverse_deviation,
                        float* dx, float* dgain, float* dshift, std::uint64_t rows, std::uint64_t width, int add, void* stream) {
  if (rows == 0)
    return 0;
  int e = for_each_column(rows, width, dgain, stream, [=] __device__(std::uint64_t i, std::uint64_t j) {
    return dy[i * width + j] * (x[i * width + j] - mean[i]) * inverse_deviation[i];
  });
  if (e == 0)
    e = for_each_column(rows, width, dshift, stream, [=] __device__(std::uint64_t i, std::uint64_t j) { return dy[i * width + j]; });
  if (e != 0)
    return e;
  layer_norm_slopes<<<static_cast<unsigned>(rows), block_of_row, 0, stream_of(stream)>>>(dy, x, gain, mean, inverse_deviation, dx, width, add != 0);
  return launched();
}

} // namespace flywheel::gpu::cuda
