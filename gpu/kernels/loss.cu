// loss.hpp on the GPU: softmax, cross-entropy and its gradient, in place, a block a row: maximum, sum, gradient.

#include "gpu/kernels/launch.cuh"

namespace flywheel::gpu::cuda {

__global__ void cross_entropy_rows(float* logits, std::uint64_t stride, const std::uint32_t* label, float* row_loss, std::uint64_t width, float scale) {
  __shared__ float room[warp];
  float* x = logits + blockIdx.x * stride;
  const std::uint32_t wanted = label[blockIdx.x];
  float top = -INFINITY, sum = 0;
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    top = fmaxf(top, x[j]);
  top = across_block(top, -INFINITY, room, larger_of{});
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    sum += expf(x[j] - top);
  sum = across_block(sum, 0.0f, room, sum_of{});
  if (threadIdx.x == 0)
    row_loss[blockIdx.x] = top + logf(sum) - x[wanted];
  __syncthreads(); // before x[wanted] changes
  for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
    x[j] = (expf(x[j] - top) / sum - (j == wanted ? 1.0f : 0.0f)) * scale;
}

/// One block: the order of the sum does not depend on the card.
__global__ void sum_losses(const float* row_loss, float* loss, std::uint64_t rows, double scale) {
  __shared__ double room[warp];
  double sum = 0;
  for (std::uint64_t i = threadIdx.x; i < rows; i += blockDim.x)
    sum += row_loss[i];
  sum = across_block(sum, 0.0, room, sum_of{});
  if (threadIdx.x == 0)
    *loss += static_cast<float>(sum * scale);
}

int softmax_cross_entropy(float* logits, std::uint64_t stride, const std::uint32_t* label, float* row_loss, float* loss,
                          std::uint64_t rows, std::uint64_t width, double averaged_over, void* stream) {
  if (rows == 0 || width == 0)
    return static_cast<int>(cudaErrorInvalidValue);
  const double scale = 1 / (averaged_over > 0 ? averaged_over : static_cast<double>(rows));
  // A row is a vocabulary long: more threads than for a norm.
  cross_entropy_rows<<<static_cast<unsigned>(rows), 1024, 0, stream_of(stream)>>>(logits, stride, label, row_loss, width, static_cast<float>(scale));
  sum_losses<<<1, 1024, 0, stream_of(stream)>>>(row_loss, loss, rows, scale);
  return launched();
}

} // namespace flywheel::gpu::cuda
