// rms_norm.hpp on the GPU: a block a row, which is read twice (the second time from the cache).

#include "gpu/kernels/launch.cuh"
#include "gpu/kernels/rms_norm.hpp"

namespace flywheel::gpu::cuda {

__global__ void rms_norm_rows(const float* x, const float* gain, float* y, float* inverse_root, std::uint64_t width) {
  __shared__ float room[warp];
  const float* from = x + blockIdx.x * width;
  float squares = 0;
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    squares += from[j] * from[j];
  squares = across_block(squares, 0.0f, room, sum_of{});
  const float r = rsqrtf(squares / static_cast<float>(width) + static_cast<float>(rms_norm_epsilon));
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    y[blockIdx.x * width + j] = from[j] * r * gain[j];
  if (threadIdx.x == 0)
    inverse_root[blockIdx.x] = r;
}

__global__ void rms_norm_slopes(const float* dy, const float* x, const float* gain, const float* inverse_root, float* dx,
                                std::uint64_t width, bool add) {
  __shared__ float room[warp];
  const std::uint64_t row = blockIdx.x * width;
  const float r = inverse_root[blockIdx.x];
  float sum = 0;
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    sum += dy[row + j] * gain[j] * x[row + j];
  const float mean = across_block(sum, 0.0f, room, sum_of{}) * r * r / static_cast<float>(width);
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x) {
    const float d = r * (dy[row + j] * gain[j] - x[row + j] * mean);
    dx[row + j] = add ? dx[row + j] + d : d;
  }
}

int rms_norm_forward(const float* x, const float* gain, float* y, float* inverse_root, std::uint64_t rows, std::uint64_t width, void* stream) {
  if (rows == 0)
    return 0;
  rms_norm_rows<<<static_cast<unsigned>(rows), block_of_row, 0, stream_of(stream)>>>(x, gain, y, inverse_root, width);
  return launched();
}

int rms_norm_backward(const float* dy, const float* x, const float* gain, const float* inverse_root, float* dx, float* dgain,
                      std::uint64_t rows, std::uint64_t width, int add, void* stream) {
  if (rows == 0)
    return 0;
  // The gain first: dx may overwrite dy.
  const int e = for_each_column(rows, width, dgain, stream, [=] __device__(std::uint64_t i, std::uint64_t j) {
    return dy[i * width + j] * x[i * width + j] * inverse_root[i];
  });
  if (e != 0)
    return e;
  rms_norm_slopes<<<static_cast<unsigned>(rows), block_of_row, 0, stream_of(stream)>>>(dy, x, gain, inverse_root, dx, width, add != 0);
  return launched();
}

} // namespace flywheel::gpu::cuda
