// embedding.hpp on the GPU. Backward without atomics: the first row that names an index adds up all rows that do, in order.

#include "gpu/kernels/launch.cuh"

namespace flywheel::gpu::cuda {

__global__ void embedding_slopes(const std::uint32_t* index, const float* dy, float* dtable, std::uint64_t rows, std::uint64_t width) {
  const std::uint64_t row = blockIdx.x;
  const std::uint32_t mine = index[row];
  bool earlier = false;
  for (std::uint64_t i = threadIdx.x; i < row && !earlier; i += blockDim.x)
    earlier = index[i] == mine;
  if (__syncthreads_or(earlier))
    return;
  for (std::uint64_t i = row; i < rows; ++i) {
    if (index[i] != mine) // the same for the whole block
      continue;
    for (std::uint64_t j = threadIdx.x; j < width; j += blockDim.x)
      dtable[mine * width + j] += dy[i * width + j];
  }
}

int embedding_forward(const std::uint32_t* index, const float* table, float* y, std::uint64_t rows, std::uint64_t width, int add, void* stream) {
  return for_each_element(rows * width, stream, [=] __device__(std::uint64_t n) {
    y[n] = table[index[n / width] * width + n % width] + (add != 0 ? y[n] : 0.0f);
  });
}

int embedding_backward(const std::uint32_t* index, const float* dy, float* dtable, std::uint64_t rows, std::uint64_t width, void* stream) {
  if (rows == 0)
    return 0;
  embedding_slopes<<<static_cast<unsigned>(rows), block_of_row, 0, stream_of(stream)>>>(index, dy, dtable, rows, width);
  return launched();
}

int column_sums(const float* x, float* to, std::uint64_t rows, std::uint64_t width, void* stream) {
  return for_each_column(rows, width, to, stream, [=] __device__(std::uint64_t i, std::uint64_t j) { return x[i * width + j]; });
}

} // namespace flywheel::gpu::cuda
