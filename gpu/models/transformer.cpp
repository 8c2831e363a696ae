#include "gpu/models/transformer.hpp"

#include "cluster/base/assert.hpp"
#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/embedding.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/kernels/rms_norm.hpp"
#include "gpu/kernels/swiglu.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel::gpu {

namespace {

constexpr std::size_t rows_a_part = 16, columns_a_part = 64;

template <class T> matrix_view<const T> read(matrix_view<T> x) { return x; }
template <class T> std::span<const T> read(std::span<T> x) { return x; }

template <class M> M rows_from(M m, std::size_t first, std::size_t count) { return {m.row(first), count, m.columns, m.stride}; }

} // namespace

template <class T>
transformer<T>::transformer(const transformer_shape& shape, std::uint64_t seed)
    : layout_(shape), parameters_(layout_.size()), rotary_(shape.position == positions::rotary ? shape.context : 0,
                                                           shape.position == positions::rotary ? shape.head_width() : 0, shape.rotary_base) {
  layout_.initialise(parameters(), seed);
}

template <class T> matrix_view<const T> transformer<T>::matrix(std::size_t block) const {
  const auto& b = layout_[block];
  return {parameters_.data() + b.offset, b.rows, b.columns};
}
template <class T> std::span<const T> transformer<T>::vector(std::size_t block) const {
  return parameters().subspan(layout_[block].offset, layout_[block].size());
}
template <class T> matrix_view<T> transformer<T>::matrix(std::span<T> of, std::size_t block) const {
  const auto& b = layout_[block];
  return {of.data() + b.offset, b.rows, b.columns};
}
template <class T> std::span<T> transformer<T>::vector(std::span<T> of, std::size_t block) const {
  return of.subspan(layout_[block].offset, layout_[block].size());
}

template <class T> void transformer<T>::reserve(transformer_workspace<T>& work, std::size_t sequences, std::size_t time) const {
  FLYWHEEL_ASSERT(sequences > 0 && time > 0 && time <= shape().context, "a batch no longer than the context");
  if (work.sequences == sequences && work.time == time && work.layers.size() == shape().layers)
    return;
  const auto& s = shape();
  const std::size_t rows = sequences * time, chunk = std::clamp<std::size_t>(work.logits_at_a_time / s.vocabulary, 1, rows);
  // Laid out twice: once to count, once to hand out.
  for (const bool counting : {true, false}) {
    std::size_t used = 0;
    const auto take = [&](std::size_t r, std::size_t c) {
      matrix_view<T> view{counting ? nullptr : work.storage.data() + used, r, c};
      used += (r * c + 15) / 16 * 16; // every array starts a cache line
      return view;
    };
    const auto take_rows = [&] { return std::span<T>{take(rows, 1).data, counting ? 0 : rows}; };
    work.layers.resize(s.layers);
    for (auto& l : work.layers) {
      l.input = take(rows, s.width), l.normed1 = take(rows, s.width), l.qkv = take(rows, s.qkv_width());
      l.attended = take(rows, s.width), l.log_sum = take(s.heads, rows);
      l.middle = take(rows, s.width), l.normed2 = take(rows, s.width);
      l.up = take(rows, s.up_width()), l.activated = take(rows, s.hidden);
      l.mean1 = take_rows(), l.inverse1 = take_rows(), l.mean2 = take_rows(), l.inverse2 = take_rows();
    }
    work.output = take(rows, s.width), work.normed = take(rows, s.width), work.logits = take(chunk, s.vocabulary);
    work.mean = take_rows(), work.inverse = take_rows();
    work.dh = take(rows, s.width), work.dnarrow = take(rows, s.width), work.dwide = take(rows, s.hidden);
    work.dqkv = take(rows, s.qkv_width()), work.row_work = take(s.heads, rows);
    if (counting)
      work.storage = host_array<T>(used);
  }
  work.sequences = sequences, work.time = time;
}

template <class T> attention_shape transformer<T>::attention_of(const transformer_workspace<T>& work) const {
  return {work.sequences, work.time, shape().heads, shape().kv_heads, shape().head_width()};
}

template <class T>
void transformer<T>::norm_forward(std::size_t gain, matrix_view<const T> x, matrix_view<T> y, std::span<T> mean,
                                  std::span<T> inverse) const {
  if (shape().norm == normalisation::rms)
    rms_norm_forward<T>(x, vector(gain), y, inverse);
  else
    layer_norm_forward<T>(x, vector(gain), vector(gain + 1), y, mean, inverse);
}

template <class T>
void transformer<T>::norm_backward(std::size_t gain, matrix_view<const T> dy, matrix_view<const T> x, std::span<const T> mean,
                                   std::span<const T> inverse, matrix_view<T> dx, std::span<T> gradient, bool add) const {
  if (shape().norm == normalisation::rms)
    rms_norm_backward<T>(dy, x, vector(gain), inverse, dx, vector(gradient, gain), add);
  else
    layer_norm_backward<T>(dy, x, vector(gain), mean, inverse, dx, vector(gradient, gain), vector(gradient, gain + 1), add);
}

/// y = before + x w + b: a branch returns to h without a matrix of its own.
template <class T>
void transformer<T>::add_linear(matrix_view<const T> before, matrix_view<const T> x, std::size_t weight, matrix_view<T> y) const {
  const auto bias = vector(weight + 1);
  parallel_ranges(y.rows, rows_a_part, [&](std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i) {
      const T* from = before.row(i);
      T* to = y.row(i);
      if (bias.empty())
        std::copy_n(from, y.columns, to);
      else
        std::transform(from, from + y.columns, bias.data(), to, std::plus<T>{});
    }
  });
  gemm<T>(op::plain, op::plain, T(1), x, matrix(weight), T(1), y);
}

template <class T> void transformer<T>::forward(const token_batch& batch, transformer_workspace<T>& work) const {
  FLYWHEEL_ASSERT(batch.token.size() == batch.rows(), "as many tokens as the batch says");
  reserve(work, batch.sequences, batch.time);
  const auto& s = shape();
  const std::size_t heads = std::size_t{s.heads} * s.head_width(), kv = std::size_t{s.kv_heads} * s.head_width();
  embedding_forward<T>(batch.token, matrix(0), work.layers[0].input);
  if (s.position == positions::learnt) {
    for (std::size_t i = 0; i < batch.rows(); ++i) {
      T* h = work.layers[0].input.row(i);
      std::transform(h, h + s.width, matrix(1).row(i % batch.time), h, std::plus<T>{});
    }
  }
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto& l = work.layers[i];
    norm_forward(layout_.of_layer(i, gain1), l.input, l.normed1, l.mean1, l.inverse1);
    linear_forward<T>(l.normed1, matrix(layout_.of_layer(i, qkv)), vector(layout_.of_layer(i, qkv_bias)), l.qkv);
    if (s.position == positions::rotary)
      rotary(l.qkv.columns_from(0, heads + kv), batch.time, rotary_, turn::forward);
    attention_forward<T>(attention_of(work), l.qkv.columns_from(0, heads), l.qkv.columns_from(heads, kv),
                         l.qkv.columns_from(heads + kv, kv), l.attended, l.log_sum);
    add_linear(l.input, l.attended, layout_.of_layer(i, out), l.middle);
    norm_forward(layout_.of_layer(i, gain2), l.middle, l.normed2, l.mean2, l.inverse2);
    linear_forward<T>(l.normed2, matrix(layout_.of_layer(i, up)), vector(layout_.of_layer(i, up_bias)), l.up);
    if (s.branch == feed_forward::swiglu)
      swiglu_forward<T>(l.up, l.activated);
    else
      activation_forward<T>(activation::gelu, l.up, l.activated);
    add_linear(l.middle, l.activated, layout_.of_layer(i, down), i + 1 < s.layers ? work.layers[i + 1].input : work.output);
  }
  norm_forward(layout_.final_gain(), work.output, work.normed, work.mean, work.inverse);
}

/// The loss, chunk by chunk; where `how` is given also the head's gradient, and that of `normed`, into `dnarrow`.
template <class T>
double transformer<T>::head(const token_batch& batch, transformer_workspace<T>& work, std::span<T> gradient,
                            const accumulation* how) const {
  FLYWHEEL_ASSERT(batch.next.size() == batch.rows(), "as many wanted tokens as the batch says");
  const auto table = matrix(layout_.head());
  const double batches = how != nullptr ? how->batches : 1;
  double loss = 0;
  for (std::size_t first = 0; first < batch.rows(); first += work.logits.rows) {
    const std::size_t count = std::min(work.logits.rows, batch.rows() - first);
    const auto chunk = work.logits.first_rows(count), normed = rows_from(work.normed, first, count);
    gemm<T>(op::plain, op::transposed, T(1), read(normed), table, T(0), chunk);
    loss += softmax_cross_entropy<T>(chunk, batch.next.subspan(first, count), 0, static_cast<double>(batch.rows()) * batches);
    if (how == nullptr)
      continue;
    const bool over = how->write == gradient_write::over && first == 0;
    gemm<T>(op::plain, op::plain, T(1), read(chunk), table, T(0), rows_from(work.dnarrow, first, count));
    gemm<T>(op::transposed, op::plain, T(1), read(chunk), read(normed), over ? T(0) : T(1), matrix(gradient, layout_.head()));
  }
  return loss * batches;
}

template <class T> double transformer<T>::loss(const token_batch& batch, transformer_workspace<T>& work) const {
  forward(batch, work);
  return head(batch, work, {}, nullptr);
}

template <class T> void transformer<T>::logits(const token_batch& batch, transformer_workspace<T>& work, matrix_view<T> to) const {
  forward(batch, work);
  gemm<T>(op::plain, op::transposed, T(1), read(work.normed), matrix(layout_.head()), T(0), to);
}

template <class T>
double transformer<T>::backward(const token_batch& batch, transformer_workspace<T>& work, std::span<T> gradient,
                                const accumulation& how, const gradient_ready& ready) const {
  FLYWHEEL_ASSERT(gradient.size() == parameters_.size(), "a gradient for every parameter");
  const auto& s = shape();
  forward(batch, work);
  if (how.write == gradient_write::over) {
    // What is only ever added to; products overwrite theirs.
    for (std::size_t b = 0; b < blocks().size(); ++b)
      if (layout_.only_added_to(b))
        std::ranges::fill(vector(gradient, b), T(0));
  }
  const auto complete = [&](std::size_t first_block, std::size_t last_block) {
    const std::size_t offset = layout_[first_block].offset, end = layout_[last_block].offset + layout_[last_block].size();
    if (ready && end > offset)
      ready(offset, end - offset);
  };
  const double loss = head(batch, work, gradient, &how);
  if (!s.tied)
    complete(layout_.head(), layout_.head());
  norm_backward(layout_.final_gain(), work.dnarrow, work.output, work.mean, work.inverse, work.dh, gradient, false);
  complete(layout_.final_gain(), layout_.final_gain() + 1);

  const std::size_t heads = std::size_t{s.heads} * s.head_width(), kv = std::size_t{s.kv_heads} * s.head_width();
  for (std::size_t i = s.layers; i-- > 0;) {
    auto& l = work.layers[i];
    const auto linear = [&](transformer_layout::in_layer weight, matrix_view<const T> dy, matrix_view<const T> x, matrix_view<T> dx) {
      const std::size_t b = layout_.of_layer(i, weight);
      linear_backward<T>(dy, x, matrix(b), dx, matrix(gradient, b), vector(gradient, b + 1), how.write);
      complete(b, b + 1);
    };
    linear(down, work.dh, l.activated, work.dwide);
    if (s.branch == feed_forward::swiglu) {
      swiglu_backward<T>(work.dwide, l.up); // l.up is its own gradient now
      linear(up, l.up, l.normed2, work.dnarrow);
    } else {
      activation_backward<T>(activation::gelu, work.dwide, l.up, work.dwide);
      linear(up, work.dwide, l.normed2, work.dnarrow);
    }
    norm_backward(layout_.of_layer(i, gain2), work.dnarrow, l.middle, l.mean2, l.inverse2, work.dh, gradient, true);
    complete(layout_.of_layer(i, gain2), layout_.of_layer(i, shift2));
    linear(out, work.dh, l.attended, work.dnarrow);
    const auto dq = work.dqkv.columns_from(0, heads), dk = work.dqkv.columns_from(heads, kv), dv = work.dqkv.columns_from(heads + kv, kv);
    attention_backward<T>(attention_of(work), work.dnarrow, l.qkv.columns_from(0, heads), l.qkv.columns_from(heads, kv),
                          l.qkv.columns_from(heads + kv, kv), l.attended, l.log_sum, dq, dk, dv, work.row_work);
    if (s.position == positions::rotary)
      rotary(work.dqkv.columns_from(0, heads + kv), batch.time, rotary_, turn::back);
    linear(qkv, work.dqkv, l.normed1, work.dnarrow);
    norm_backward(layout_.of_layer(i, gain1), work.dnarrow, l.input, l.mean1, l.inverse1, work.dh, gradient, true);
    complete(layout_.of_layer(i, gain1), layout_.of_layer(i, shift1));
  }
  // Tokens repeat, so a stretch of columns belongs to one part: every sum has one owner and one order.
  parallel_ranges(s.width, columns_a_part, [&](std::size_t first, std::size_t last) {
    const auto dh = work.dh.columns_from(first, last - first);
    embedding_backward<T>(batch.token, dh, matrix(gradient, 0).columns_from(first, last - first));
    if (s.position != positions::learnt)
      return;
    const auto dposition = matrix(gradient, 1);
    for (std::size_t r = 0; r < batch.rows(); ++r) {
      T* to = dposition.row(r % batch.time) + first;
      std::transform(to, to + dh.columns, dh.row(r), to, std::plus<T>{});
    }
  });
  complete(0, 1);
  return loss;
}

template class transformer_workspace<float>;
template class transformer_workspace<double>;
template class transformer<float>;
template class transformer<double>;

} // namespace flywheel::gpu
