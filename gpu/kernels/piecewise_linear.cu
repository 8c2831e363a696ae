// piecewise_linear.hpp on the GPU, all numbers of a row in one launch. Forward leaves where each value fell for backward.
// Backward without atomics: a block owns one segment of one number (or its "absent") and adds the rows that fell there in
// one fixed order; only for those does it read dy, so dy is read once however many segments there are.

#include "gpu/kernels/launch.cuh"
#include "gpu/operations.hpp"

namespace flywheel::gpu::cuda {

/// Where number f's things lie, from how many segments the numbers before it have.
struct piecewise_number {
  std::uint64_t before, segments, edges, parameters;
  __device__ piecewise_number(const piecewise_linear_call& c, std::uint64_t f)
      : before(c.segments_before[f]), segments(c.segments_before[f + 1] - before), edges(before + f), parameters((before + 2 * f) * c.width) {}
};

/// A thread a column of a number's vector.
__global__ void piecewise_starts(piecewise_linear_call c) {
  const std::uint64_t n = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x;
  if (n >= c.numbers * c.width)
    return;
  const std::uint64_t j = n % c.width;
  const piecewise_number at(c, n / c.width);
  const float* slope = c.parameters + at.parameters + j;
  float sum = slope[at.segments * c.width]; // the bias follows the slopes
  for (std::uint64_t k = 0; k < at.segments; ++k) {
    c.starts[(at.before + k) * c.width + j] = sum;
    sum += slope[k * c.width];
  }
}

/// The last segment that begins at or below each value, or the first; a missing one falls behind the last.
int piecewise_places(const piecewise_linear_call& c, void* stream) {
  return for_each_element(c.rows * c.numbers, stream, [=] __device__(std::uint64_t n) {
    const float x = c.x[n / c.numbers * c.stride_x + n % c.numbers];
    const piecewise_number at(c, n % c.numbers);
    const float* edges = c.edges + at.edges;
    std::uint64_t k = 0;
    for (std::uint64_t left = at.segments; left > 1;) {
      const std::uint64_t half = left / 2;
      k += edges[k + half] <= x ? half : 0;
      left -= half;
    }
    const bool missing = x != x;
    const float part = (x - edges[k]) / (edges[k + 1] - edges[k]);
    c.segment[n] = static_cast<std::uint32_t>(missing ? at.segments : k);
    c.part[n] = missing ? 0.0f : fminf(fmaxf(part, 0.0f), 1.0f);
  });
}

int piecewise_linear_forward(const piecewise_linear_call* call, void* stream) {
  const piecewise_linear_call c = *call;
  if (c.rows == 0 || c.numbers == 0 || c.width == 0)
    return 0;
  const std::uint64_t columns = c.numbers * c.width;
  piecewise_starts<<<static_cast<unsigned>((columns + block_of_elements - 1) / block_of_elements), block_of_elements, 0, stream_of(stream)>>>(c);
  if (const int e = launched(); e != 0)
    return e;
  if (const int e = piecewise_places(c, stream); e != 0)
    return e;
  return for_each_element(c.rows * columns, stream, [=] __device__(std::uint64_t n) {
    const std::uint64_t row = n / columns, f = n % columns / c.width, j = n % c.width, place = row * c.numbers + f;
    const piecewise_number at(c, f);
    const float* parameters = c.parameters + at.parameters + j;
    const std::uint64_t k = c.segment[place];
    c.y[row * c.stride_y + f * c.width + j] = k == at.segments ? parameters[(at.segments + 1) * c.width]
                                                               : c.starts[(at.before + k) * c.width + j] + c.part[place] * parameters[k * c.width];
  });
}

/// Block (s, b): the s-th of all segments and absents, 32 columns from 32 b on; 32 rows side by side. What reached a segment's
/// start goes to `starts`; the slope's own share and "absent" to the gradient.
__global__ void piecewise_sums(piecewise_linear_call c) {
  __shared__ float of_start[warp][warp + 1], of_slope[warp][warp + 1];
  std::uint64_t f = 0; // the number whose segments and absent, segments_before[f] + f on, hold this block's
  for (std::uint64_t left = c.numbers; left > 1;) {
    const std::uint64_t half = left / 2;
    f += c.segments_before[f + half] + f + half <= blockIdx.x ? half : 0;
    left -= half;
  }
  const piecewise_number at(c, f);
  const std::uint64_t k = blockIdx.x - at.before - f, j = blockIdx.y * std::uint64_t{warp} + threadIdx.x;
  float start = 0, slope = 0;
  for (std::uint64_t i = threadIdx.y; i < c.rows && j < c.width; i += warp) {
    const std::uint64_t place = i * c.numbers + f;
    if (c.segment[place] != k)
      continue;
    const float dy = c.dy[i * c.stride_y + f * c.width + j];
    start += dy;
    slope += c.part[place] * dy;
  }
  of_start[threadIdx.y][threadIdx.x] = start;
  of_slope[threadIdx.y][threadIdx.x] = slope;
  __syncthreads();
  if (threadIdx.y != 0 || j >= c.width)
    return;
  start = slope = 0;
  for (unsigned r = 0; r < warp; ++r) {
    start += of_start[r][threadIdx.x];
    slope += of_slope[r][threadIdx.x];
  }
  float* gradient = c.gradient + at.parameters + j;
  if (k == at.segments) {
    gradient[(at.segments + 1) * c.width] += start;
    return;
  }
  c.starts[(at.before + k) * c.width + j] = start;
  gradient[k * c.width] += slope;
}

/// A thread a column: what reached a segment's start was carried there by each earlier slope, and by the bias.
__global__ void piecewise_carry(piecewise_linear_call c) {
  const std::uint64_t n = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x;
  if (n >= c.numbers * c.width)
    return;
  const std::uint64_t j = n % c.width;
  const piecewise_number at(c, n / c.width);
  float* gradient = c.gradient + at.parameters + j;
  float carried = 0;
  for (std::uint64_t k = at.segments; k-- > 0;) {
    gradient[k * c.width] += carried;
    carried += c.starts[(at.before + k) * c.width + j];
  }
  gradient[at.segments * c.width] += carried;
}

int piecewise_linear_backward(const piecewise_linear_call* call, void* stream) {
  const piecewise_linear_call c = *call;
  if (c.rows == 0 || c.numbers == 0 || c.width == 0)
    return 0;
  const dim3 grid(static_cast<unsigned>(c.segments + c.numbers), static_cast<unsigned>((c.width + warp - 1) / warp));
  piecewise_sums<<<grid, dim3(warp, warp), 0, stream_of(stream)>>>(c);
  if (const int e = launched(); e != 0)
    return e;
  const std::uint64_t columns = c.numbers * c.width;
  piecewise_carry<<<static_cast<unsigned>((columns + block_of_elements - 1) / block_of_elements), block_of_elements, 0, stream_of(stream)>>>(c);
  return launched();
}

} // namespace flywheel::gpu::cuda
