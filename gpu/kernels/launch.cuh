#pragma once
// What every kernel page needs: sums over a block in one fixed order, grid sizes, and the error of a launch.

#include <cstddef>
#include <cstdint>
#include <cuda_runtime.h>

namespace flywheel::gpu::cuda {

constexpr unsigned warp = 32;
constexpr unsigned block_of_row = 256;       // a row of 768 to 8192 numbers gives each thread a handful
constexpr unsigned block_of_elements = 256;
constexpr unsigned grid_max = 65535;

struct sum_of {
  template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};
struct larger_of {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// The same value in every thread. `room` holds 32 values; it may be used again after the next __syncthreads().
template <class T, class Combine> __device__ T across_block(T value, T neutral, T* room, Combine combine) {
  for (unsigned lanes = warp / 2; lanes > 0; lanes /= 2)
    value = combine(value, __shfl_xor_sync(0xFFFFFFFFu, value, lanes));
  __syncthreads(); // whoever still reads the last result
  if (threadIdx.x % warp == 0)
    room[threadIdx.x / warp] = value;
  __syncthreads();
  const unsigned warps = (blockDim.x + warp - 1) / warp;
  T all = neutral;
  for (unsigned w = 0; w < warps; ++w)
    all = combine(all, room[w]);
  return all;
}

inline cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
inline int launched() { return static_cast<int>(cudaGetLastError()); }
inline unsigned blocks_for(std::uint64_t size, unsigned each = block_of_elements) {
  const std::uint64_t wanted = (size + each - 1) / each;
  return static_cast<unsigned>(wanted < 1 ? 1 : wanted < grid_max ? wanted : grid_max);
}

/// f(i) for every i below `size`, a grid striding over it.
template <class F> __global__ void each_element(std::uint64_t size, F f) {
  for (std::uint64_t i = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; i < size; i += std::uint64_t{blockDim.x} * gridDim.x)
    f(i);
}
template <class F> int for_each_element(std::uint64_t size, void* stream, F f) {
  if (size == 0)
    return 0;
  each_element<<<blocks_for(size), block_of_elements, 0, stream_of(stream)>>>(size, f);
  return launched();
}

/// to[j] += sum over rows of f(i, j): 32 columns a block, 32 rows side by side, added in one fixed order.
template <class F> __global__ void add_columns(std::uint64_t rows, std::uint64_t width, float* to, F f) {
  __shared__ float part[warp][warp + 1];
  const std::uint64_t j = blockIdx.x * std::uint64_t{warp} + threadIdx.x;
  float sum = 0;
  if (j < width)
    for (std::uint64_t i = threadIdx.y; i < rows; i += warp)
      sum += f(i, j);
  part[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && j < width) {
    float all = 0;
    for (unsigned r = 0; r < warp; ++r)
      all += part[r][threadIdx.x];
    to[j] += all;
  }
}
template <class F> int for_each_column(std::uint64_t rows, std::uint64_t width, float* to, void* stream, F f) {
  if (width == 0)
    return 0;
  add_columns<<<static_cast<unsigned>((width + warp - 1) / warp), dim3(warp, warp), 0, stream_of(stream)>>>(rows, width, to, f);
  return launched();
}

} // namespace flywheel::gpu::cuda
