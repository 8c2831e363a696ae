#include "gpu/kernels/attention.hpp"

#include "cluster/base/assert.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>
#include <array>

namespace flywheel::gpu {

namespace {

// Two tiles of scores, and the rows of q, k and v that belong to them, fit the second cache level.
constexpr std::size_t tile = 64;

template <class T> struct tile_room {
  alignas(64) std::array<T, tile * tile> scores, slopes;
};
template <class T> tile_room<T>& room() {
  static thread_local tile_room<T> mine;
  return mine;
}

/// Rows [first, first + count) of one head: columns [head * width, ...).
template <class M> M part(M m, std::size_t first, std::size_t count, std::size_t head, std::size_t width) {
  return {m.row(first) + head * width, count, width, m.stride};
}

/// How many of a tile's columns row i may look at: all below the diagonal tile, the first i + 1 on it.
std::size_t visible(bool diagonal, std::size_t i, std::size_t columns) { return diagonal ? std::min(i + 1, columns) : columns; }

/// One row of scores to weights e^(score - top) after raising `top` and bringing `sum` and the row's output to it.
template <class T>
void absorb(T* score, std::size_t seen, std::size_t columns, T scale, T& top, T& sum, T* out, std::size_t width, bool fresh) {
  T highest = score[0];
#pragma omp simd reduction(max : highest)
  for (std::size_t j = 0; j < seen; ++j)
    highest = score[j] > highest ? score[j] : highest;
  highest *= scale;
  const T now = fresh || highest > top ? highest : top;
  T added = 0;
#pragma omp simd reduction(+ : added)
  for (std::size_t j = 0; j < seen; ++j) {
    const T e = fast_exp(score[j] * scale - now);
    score[j] = e;
    added += e;
  }
  for (std::size_t j = seen; j < columns; ++j)
    score[j] = 0;
  if (fresh) {
    sum = added;
  } else {
    const T shrink = fast_exp(top - now);
    sum = sum * shrink + added;
    if (now != top)
      for (std::size_t j = 0; j < width; ++j)
        out[j] *= shrink;
  }
  top = now;
}

template <class T>
void forward_tile(const attention_shape& s, std::size_t base, std::size_t head, std::size_t first, matrix_view<const T> q,
                  matrix_view<const T> k, matrix_view<const T> v, matrix_view<T> out, matrix_view<T> log_sum) {
  const std::size_t width = s.head_width, group = head / (s.heads / s.kv_heads), rows = std::min(tile, s.time - first);
  const T scale = static_cast<T>(1 / std::sqrt(static_cast<double>(width)));
  const auto queries = part(q, base + first, rows, head, width);
  const auto answer = part(out, base + first, rows, head, width);
  std::array<T, tile> top{}, sum{};
  for (std::size_t from = 0; from <= first; from += tile) {
    const std::size_t columns = std::min(tile, s.time - from);
    const matrix_view<T> scores{room<T>().scores.data(), rows, columns, tile};
    gemm<T>(op::plain, op::transposed, T(1), queries, part(k, base + from, columns, group, width), T(0), scores);
    vectorised([&] {
      for (std::size_t i = 0; i < rows; ++i)
        absorb(scores.row(i), visible(from == first, i, columns), columns, scale, top[i], sum[i], answer.row(i), width, from == 0);
    });
    gemm<T>(op::plain, op::plain, T(1), matrix_view<const T>(scores), part(v, base + from, columns, group, width),
            from == 0 ? T(0) : T(1), answer);
  }
  vectorised([&] {
    for (std::size_t i = 0; i < rows; ++i) {
      T* to = answer.row(i);
      const T inverse = T(1) / sum[i];
      for (std::size_t j = 0; j < width; ++j)
        to[j] *= inverse;
      log_sum(head, base + first + i) = top[i] + std::log(sum[i]);
    }
  });
}

/// weights p = e^(score - log_sum), and the slopes of the scores: ds = p (dp - row), where dp came in `slopes`.
template <class T>
void slopes_of_row(T* score, T* slope, std::size_t seen, std::size_t columns, T scale, T log_sum, T row) {
#pragma omp simd
  for (std::size_t j = 0; j < seen; ++j) {
    const T p = fast_exp(score[j] * scale - log_sum);
    score[j] = p;
    slope[j] = p * (slope[j] - row);
  }
  for (std::size_t j = seen; j < columns; ++j)
    score[j] = slope[j] = 0;
}

} // namespace

template <class T>
void attention_forward(const attention_shape& s, matrix_view<const T> q, matrix_view<const T> k, matrix_view<const T> v,
                       matrix_view<T> out, matrix_view<T> log_sum) {
  FLYWHEEL_ASSERT(s.kv_heads > 0 && s.heads % s.kv_heads == 0, "groups of query heads of one size");
  const std::size_t tiles = (s.time + tile - 1) / tile;
  parallel_for(s.sequences * s.heads * tiles, [&](std::size_t n) {
    // Late tiles look at most keys, so they go first.
    const std::size_t t = tiles - 1 - n / (s.sequences * s.heads), rest = n % (s.sequences * s.heads);
    forward_tile(s, rest / s.heads * s.time, rest % s.heads, t * tile, q, k, v, out, log_sum);
  });
}

template <class T>
void attention_backward(const attention_shape& s, matrix_view<const T> dout, matrix_view<const T> q, matrix_view<const T> k,
                        matrix_view<const T> v, matrix_view<const T> out, matrix_view<const T> log_sum, matrix_view<T> dq,
                        matrix_view<T> dk, matrix_view<T> dv, matrix_view<T> row_work) {
  const std::size_t width = s.head_width, shared = s.heads / s.kv_heads;
  const T scale = static_cast<T>(1 / std::sqrt(static_cast<double>(width)));
  // A group of heads adds to the same keys and values, so it is one part: every sum has one owner and one order.
  parallel_for(s.sequences * s.kv_heads, [&](std::size_t n) {
    const std::size_t base = n / s.kv_heads * s.time, group = n % s.kv_heads;
    for (std::size_t head = group * shared; head < (group + 1) * shared; ++head) {
      // sum_s p ds/dp of a row is dout . out (Dao et al., equation 4).
      vectorised([&] {
        for (std::size_t i = base; i < base + s.time; ++i) {
          const T *a = dout.row(i) + head * width, *b = out.row(i) + head * width;
          T dot = 0;
#pragma omp simd reduction(+ : dot)
          for (std::size_t j = 0; j < width; ++j)
            dot += a[j] * b[j];
          row_work(head, i) = dot;
        }
      });
      for (std::size_t from = 0; from < s.time; from += tile) {
        const std::size_t columns = std::min(tile, s.time - from);
        const auto keys = part(k, base + from, columns, group, width), values = part(v, base + from, columns, group, width);
        for (std::size_t first = from; first < s.time; first += tile) {
          const std::size_t rows = std::min(tile, s.time - first);
          const auto queries = part(q, base + first, rows, head, width), dy = part(dout, base + first, rows, head, width);
          const matrix_view<T> scores{room<T>().scores.data(), rows, columns, tile};
          const matrix_view<T> slopes{room<T>().slopes.data(), rows, columns, tile};
          gemm<T>(op::plain, op::transposed, T(1), queries, keys, T(0), scores);
          gemm<T>(op::plain, op::transposed, T(1), dy, values, T(0), slopes);
          vectorised([&] {
            for (std::size_t i = 0; i < rows; ++i)
              slopes_of_row(scores.row(i), slopes.row(i), visible(from == first, i, columns), columns, scale,
                            log_sum(head, base + first + i), row_work(head, base + first + i));
          });
          const bool new_keys = head == group * shared && first == from;
          gemm<T>(op::transposed, op::plain, T(1), matrix_view<const T>(scores), dy, new_keys ? T(0) : T(1),
                  part(dv, base + from, columns, group, width));
          gemm<T>(op::transposed, op::plain, scale, matrix_view<const T>(slopes), queries, new_keys ? T(0) : T(1),
                  part(dk, base + from, columns, group, width));
          gemm<T>(op::plain, op::plain, scale, matrix_view<const T>(slopes), keys, from == 0 ? T(0) : T(1),
                  part(dq, base + first, rows, head, width));
        }
      }
    }
  });
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void attention_forward<T>(const attention_shape&, matrix_view<const T>, matrix_view<const T>,               \
                                     matrix_view<const T>, matrix_view<T>, matrix_view<T>);                            \
  template void attention_backward<T>(const attention_shape&, matrix_view<const T>, matrix_view<const T>,              \
                                      matrix_view<const T>, matrix_view<const T>, matrix_view<const T>,                \
                                      matrix_view<const T>, matrix_view<T>, matrix_view<T>, matrix_view<T>,            \
                                      matrix_view<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
