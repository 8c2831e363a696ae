// attention.hpp on the GPU. A thread owns a query (or, for dk and dv, a key) and walks the other side in tiles that its
// block holds in shared memory: scores never exist in memory, sums have one owner and one order, nothing is atomic.
// Plain float arithmetic, no tensor cores: the reference that a faster kernel will be held against.

#include "gpu/kernels/launch.cuh"
#include "gpu/operations.hpp"

namespace flywheel::gpu::cuda {

constexpr unsigned owners = 64; // threads a block: with a tile of 32 x 128 floats twice, 32 KiB of shared memory
constexpr unsigned tile_rows = 32;

struct head_place {
  std::uint64_t base, head, group; // first row of the sequence, query head, key head
};
__device__ head_place place_of(const attention_call& c, std::uint64_t n) {
  const std::uint64_t head = n % c.heads;
  return {n / c.heads * c.time, head, head / (c.heads / c.kv_heads)};
}

/// Rows [first, first + tile_rows) of two matrices into shared memory; rows beyond `time` are zeros.
template <unsigned Width>
__device__ void load_tile(float (*to_a)[Width], float (*to_b)[Width], const float* a, std::uint64_t stride_a, const float* b,
                          std::uint64_t stride_b, std::uint64_t first, std::uint64_t time, std::uint64_t width) {
  __syncthreads(); // the last tile is no longer read
  for (unsigned n = threadIdx.x; n < tile_rows * Width; n += blockDim.x) {
    const unsigned r = n / Width, j = n % Width;
    const bool inside = first + r < time && j < width;
    to_a[r][j] = inside ? a[(first + r) * stride_a + j] : 0.0f;
    to_b[r][j] = inside ? b[(first + r) * stride_b + j] : 0.0f;
  }
  __syncthreads();
}

template <unsigned Width> __device__ void load_row(float (&to)[Width], const float* from, std::uint64_t width, bool inside) {
#pragma unroll
  for (unsigned j = 0; j < Width; ++j)
    to[j] = inside && j < width ? from[j] : 0.0f;
}
template <unsigned Width> __device__ float dot(const float (&a)[Width], const float* b) {
  float sum = 0;
#pragma unroll
  for (unsigned j = 0; j < Width; ++j)
    sum += a[j] * b[j];
  return sum;
}
template <unsigned Width> __device__ void add_scaled(float (&to)[Width], float scale, const float* b) {
#pragma unroll
  for (unsigned j = 0; j < Width; ++j)
    to[j] += scale * b[j];
}

template <unsigned Width> __global__ void attention_rows(attention_call c) {
  __shared__ float keys[tile_rows][Width], values[tile_rows][Width];
  const auto at = place_of(c, blockIdx.y);
  const std::uint64_t t = blockIdx.x * std::uint64_t{owners} + threadIdx.x, last = blockIdx.x * std::uint64_t{owners} + owners;
  const bool inside = t < c.time;
  const float scale = rsqrtf(static_cast<float>(c.head_width));
  const float *k = c.k + at.base * c.stride_k + at.group * c.head_width, *v = c.v + at.base * c.stride_v + at.group * c.head_width;
  float query[Width], answer[Width] = {}, top = -INFINITY, sum = 0;
  load_row(query, c.q + (at.base + t) * c.stride_q + at.head * c.head_width, c.head_width, inside);
  for (std::uint64_t first = 0; first < last && first < c.time; first += tile_rows) {
    load_tile<Width>(keys, values, k, c.stride_k, v, c.stride_v, first, c.time, c.head_width);
    for (unsigned r = 0; inside && r < tile_rows && first + r <= t; ++r) {
      const float score = dot(query, keys[r]) * scale;
      if (score > top) {
        const float shrink = expf(top - score);
        sum *= shrink;
#pragma unroll
        for (unsigned j = 0; j < Width; ++j)
          answer[j] *= shrink;
        top = score;
      }
      const float p = expf(score - top);
      sum += p;
      add_scaled(answer, p, values[r]);
    }
  }
  if (!inside)
    return;
  float* to = c.out + (at.base + t) * c.stride_out + at.head * c.head_width;
  for (unsigned j = 0; j < c.head_width; ++j)
    to[j] = answer[j] / sum;
  c.log_sum[at.head * c.sequences * c.time + at.base + t] = top + logf(sum);
}

/// dq of a query, and row_work = dout . out on the way.
template <unsigned Width> __global__ void attention_query_slopes(attention_call c) {
  __shared__ float keys[tile_rows][Width], values[tile_rows][Width];
  const auto at = place_of(c, blockIdx.y);
  const std::uint64_t t = blockIdx.x * std::uint64_t{owners} + threadIdx.x, last = blockIdx.x * std::uint64_t{owners} + owners;
  const bool inside = t < c.time;
  const float scale = rsqrtf(static_cast<float>(c.head_width));
  const float *k = c.k + at.base * c.stride_k + at.group * c.head_width, *v = c.v + at.base * c.stride_v + at.group * c.head_width;
  const std::uint64_t stat = at.head * c.sequences * c.time + at.base + t, row = (at.base + t) * c.stride_out + at.head * c.head_width;
  float query[Width], dout[Width], dq[Width] = {}, row_dot = 0;
  load_row(query, c.q + (at.base + t) * c.stride_q + at.head * c.head_width, c.head_width, inside);
  load_row(dout, c.dout + row, c.head_width, inside);
  for (unsigned j = 0; inside && j < c.head_width; ++j)
    row_dot += c.dout[row + j] * c.out[row + j];
  const float log_sum = inside ? c.log_sum[stat] : 0.0f;
  for (std::uint64_t first = 0; first < last && first < c.time; first += tile_rows) {
    load_tile<Width>(keys, values, k, c.stride_k, v, c.stride_v, first, c.time, c.head_width);
    for (unsigned r = 0; inside && r < tile_rows && first + r <= t; ++r) {
      const float p = expf(dot(query, keys[r]) * scale - log_sum);
      add_scaled(dq, p * (dot(dout, values[r]) - row_dot) * scale, keys[r]);
    }
  }
  if (!inside)
    return;
  c.row_work[stat] = row_dot;
  float* to = c.dq + (at.base + t) * c.stride_q + at.head * c.head_width;
  for (unsigned j = 0; j < c.head_width; ++j)
    to[j] = dq[j];
}

/// dk and dv of a key, from every query head of its group and every later query. blockIdx.y counts key heads.
template <unsigned Width> __global__ void attention_key_slopes(attention_call c) {
  __shared__ float queries[tile_rows][Width], slopes[tile_rows][Width];
  const std::uint64_t base = blockIdx.y / c.kv_heads * c.time, group = blockIdx.y % c.kv_heads, shared = c.heads / c.kv_heads;
  const std::uint64_t from = blockIdx.x * std::uint64_t{owners}, s = from + threadIdx.x;
  const bool inside = s < c.time;
  const float scale = rsqrtf(static_cast<float>(c.head_width));
  float key[Width], value[Width], dk[Width] = {}, dv[Width] = {};
  load_row(key, c.k + (base + s) * c.stride_k + group * c.head_width, c.head_width, inside);
  load_row(value, c.v + (base + s) * c.stride_v + group * c.head_width, c.head_width, inside);
  for (std::uint64_t head = group * shared; head < (group + 1) * shared; ++head) {
    const float *q = c.q + base * c.stride_q + head * c.head_width, *dout = c.dout + base * c.stride_out + head * c.head_width;
    const std::uint64_t stat = head * c.sequences * c.time + base;
    for (std::uint64_t first = from / tile_rows * tile_rows; first < c.time; first += tile_rows) {
      load_tile<Width>(queries, slopes, q, c.stride_q, dout, c.stride_out, first, c.time, c.head_width);
      for (unsigned r = 0; inside && r < tile_rows && first + r < c.time; ++r) {
        if (first + r < s)
          continue;
        const float p = expf(dot(key, queries[r]) * scale - c.log_sum[stat + first + r]);
        const float ds = p * (dot(value, slopes[r]) - c.row_work[stat + first + r]) * scale;
        add_scaled(dv, p, slopes[r]);
        add_scaled(dk, ds, queries[r]);
      }
    }
  }
  if (!inside)
    return;
  float *to_k = c.dk + (base + s) * c.stride_k + group * c.head_width, *to_v = c.dv + (base + s) * c.stride_v + group * c.head_width;
  for (unsigned j = 0; j < c.head_width; ++j) {
    to_k[j] = dk[j];
    to_v[j] = dv[j];
  }
}

template <unsigned Width> int attention_run(const attention_call& c, bool backward, void* stream) {
  const auto tiles = static_cast<unsigned>((c.time + owners - 1) / owners);
  const dim3 by_query(tiles, static_cast<unsigned>(c.sequences * c.heads)), by_key(tiles, static_cast<unsigned>(c.sequences * c.kv_heads));
  if (!backward) {
    attention_rows<Width><<<by_query, owners, 0, stream_of(stream)>>>(c);
    return launched();
  }
  attention_query_slopes<Width><<<by_query, owners, 0, stream_of(stream)>>>(c);
  if (const int e = launched(); e != 0)
    return e;
  attention_key_slopes<Width><<<by_key, owners, 0, stream_of(stream)>>>(c);
  return launched();
}

int attention_pick(const attention_call& c, bool backward, void* stream) {
  if (c.head_width == 0 || c.head_width > 128 || c.kv_heads == 0 || c.heads % c.kv_heads != 0 || c.sequences * c.heads > grid_max)
    return static_cast<int>(cudaErrorInvalidValue);
  if (c.time == 0 || c.sequences == 0)
    return 0;
  return c.head_width <= 64 ? attention_run<64>(c, backward, stream) : attention_run<128>(c, backward, stream);
}

int attention_forward(const attention_call* c, void* stream) { return attention_pick(*c, false, stream); }
int attention_backward(const attention_call* c, void* stream) { return attention_pick(*c, true, stream); }

} // namespace flywheel::gpu::cuda
