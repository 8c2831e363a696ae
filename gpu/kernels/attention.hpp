#pragma once
// Causal attention with grouped queries (Ainslie et al., "GQA", 2023) whose memory is linear in the length of a sequence:
// scores exist for one tile at a time, softmax is taken online, and backward computes them again from the kept logarithm
// of each row's sum (Dao et al., "FlashAttention", 2022; Milakov, Gimelshein, "Online normalizer calculation", 2018).
//
//   out(t, h) = sum over s <= t of softmax_s(q(t, h) . k(s, g) / sqrt(head_width)) v(s, g),  g = h / (heads / kv_heads)

#include "gpu/matrix_view.hpp"

#include <cstddef>

namespace flywheel::gpu {

struct attention_shape {
  std::size_t sequences = 0, time = 0;
  std::size_t heads = 0, kv_heads = 0;  ///< kv_heads divides heads
  std::size_t head_width = 0;

  std::size_t rows() const noexcept { return sequences * time; }
};

/// q is rows x (heads * head_width), k and v rows x (kv_heads * head_width), rows ordered by sequence, then time; they may
/// be columns of one matrix. `out` is shaped like q. `log_sum` (heads x rows) is kept for backward.
template <class T>
void attention_forward(const attention_shape& shape, matrix_view<const T> q, matrix_view<const T> k, matrix_view<const T> v,
                       matrix_view<T> out, matrix_view<T> log_sum);

/// dq, dk and dv are overwritten. `row_work` (heads x rows) is scratch. dout may not be dq.
template <class T>
void attention_backward(const attention_shape& shape, matrix_view<const T> dout, matrix_view<const T> q,
                        matrix_view<const T> k, matrix_view<const T> v, matrix_view<const T> out,
                        matrix_view<const T> log_sum, matrix_view<T> dq, matrix_view<T> dk, matrix_view<T> dv,
                        matrix_view<T> row_work);

} // namespace flywheel::gpu
