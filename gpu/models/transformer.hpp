#pragma once
// A decoder-only transformer that trains from scratch. By default of the Llama family (Touvron et al. 2023: RMS norm before
// each branch, rotary positions, grouped queries, SwiGLU, no biases); with other settings shaped like GPT-2 (Radford et
// al. 2019: layer norm, learnt positions, GELU, biases, tied head).
//
//   h = table[token] (+ position[t]);   per layer:  h += attention(norm(h) W_qkv) W_out;   h += mlp(norm(h))
//   mlp(x) = swiglu(x W_up) W_down, or gelu(x W_up) W_down;   logits = norm(h) W_head'
//
// T is float, or double where a test compares gradients with finite differences.

#include "gpu/host_array.hpp"
#include "gpu/kernels/attention.hpp"
#include "gpu/kernels/linear.hpp"
#include "gpu/kernels/rotary.hpp"
#include "gpu/matrix_view.hpp"
#include "gpu/models/transformer_layout.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace flywheel::gpu {

/// Sequences of one length, row-major; `next[i]` is what should follow `token[i]`. All below the vocabulary.
struct token_batch {
  std::span<const std::uint32_t> token, next;
  std::size_t sequences = 0, time = 0;
  std::size_t rows() const noexcept { return sequences * time; }
};

/// What forward leaves for backward, and the room both need. Allocated for one shape of batch and kept until another comes.
template <class T> class transformer_workspace {
public:
  /// Logits are made for as many rows at a time as `logits_at_a_time` numbers hold (64 MiB of floats), at least one: a
  /// vocabulary times a long batch would be the largest array of all.
  explicit transformer_workspace(std::size_t logits_at_a_time_ = std::size_t{1} << 24) : logits_at_a_time(logits_at_a_time_) {}

  std::size_t bytes() const noexcept { return storage.size() * sizeof(T); }

private:
  template <class> friend class transformer;
  struct layer {
    matrix_view<T> input, normed1, qkv, attended, log_sum, middle, normed2, up, activated;
    std::span<T> mean1, inverse1, mean2, inverse2;
  };
  std::size_t logits_at_a_time;
  host_array<T> storage;
  std::size_t sequences = 0, time = 0;
  std::vector<layer> layers;
  matrix_view<T> output, normed, logits, dh, dwide, dqkv, dnarrow, row_work;
  std::span<T> mean, inverse;
};

/// How a batch's gradient enters the gradient array. For a step of n batches: the first `over`, the others `add`, all with
/// `batches` = n; then the gradient is the mean over the whole.
struct accumulation {
  gradient_write write = gradient_write::over;
  double batches = 1;
};

template <class T> class transformer {
public:
  /// Called while backward runs, when gradient [offset, offset + count) is complete and its parameters are no longer read:
  /// it may be sent, or the parameters updated.
  using gradient_ready = std::function<void(std::size_t offset, std::size_t count)>;

  /// Initial weights from `seed` (transformer_layout::initialise). `shape` must be consistent.
  transformer(const transformer_shape& shape, std::uint64_t seed);

  const transformer_layout& layout() const noexcept { return layout_; }
  const transformer_shape& shape() const noexcept { return layout_.shape(); }
  const std::vector<parameter_block>& blocks() const noexcept { return layout_.blocks(); }
  std::span<T> parameters() noexcept { return parameters_.span(); }
  std::span<const T> parameters() const noexcept { return parameters_.span(); }

  /// Mean cross-entropy in nats per token.
  double loss(const token_batch& batch, transformer_workspace<T>& work) const;
  /// The same, and its gradient. `gradient` has the size of parameters().
  double backward(const token_batch& batch, transformer_workspace<T>& work, std::span<T> gradient,
                  const accumulation& how = {}, const gradient_ready& ready = {}) const;
  /// rows x vocabulary, of `batch.token`; `batch.next` is not read.
  void logits(const token_batch& batch, transformer_workspace<T>& work, matrix_view<T> out) const;

private:
  using enum transformer_layout::in_layer;

  void reserve(transformer_workspace<T>& work, std::size_t sequences, std::size_t time) const;
  void forward(const token_batch& batch, transformer_workspace<T>& work) const;
  void norm_forward(std::size_t gain, matrix_view<const T> x, matrix_view<T> y, std::span<T> mean, std::span<T> inverse) const;
  void norm_backward(std::size_t gain, matrix_view<const T> dy, matrix_view<const T> x, std::span<const T> mean,
                     std::span<const T> inverse, matrix_view<T> dx, std::span<T> gradient, bool add) const;
  double head(const token_batch& batch, transformer_workspace<T>& work, std::span<T> gradient, const accumulation* how) const;
  void add_linear(matrix_view<const T> before, matrix_view<const T> x, std::size_t weight, matrix_view<T> y) const;
  attention_shape attention_of(const transformer_workspace<T>& work) const;

  matrix_view<const T> matrix(std::size_t block) const;
  std::span<const T> vector(std::size_t block) const;
  matrix_view<T> matrix(std::span<T> of, std::size_t block) const;
  std::span<T> vector(std::span<T> of, std::size_t block) const;

  transformer_layout layout_;
  host_array<T> parameters_;
  rotary_table<T> rotary_;
};

} // namespace flywheel::gpu
