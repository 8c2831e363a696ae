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
#include "gpu/models/parameter_block.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace flywheel::gpu {

enum class normalisation : std::uint8_t { rms, layer };
enum class feed_forward : std::uint8_t { swiglu, gelu };
enum class positions : std::uint8_t { rotary, learnt };

struct transformer_shape {
  std::uint32_t vocabulary = 0, context = 0;       ///< tokens there are; the longest sequence
  std::uint32_t layers = 1, width = 64, heads = 1;
  std::uint32_t kv_heads = 1;                      ///< divides heads
  std::uint32_t hidden = 256;                      ///< width inside the feed-forward branch
  normalisation norm = normalisation::rms;
  feed_forward branch = feed_forward::swiglu;
  positions position = positions::rotary;
  bool biases = false, tied = true;                ///< tied: the head is the embedding table
  double rotary_base = 10000;

  std::uint32_t head_width() const noexcept { return width / heads; }
  std::uint32_t qkv_width() const noexcept { return (heads + 2 * kv_heads) * head_width(); }
  std::uint32_t up_width() const noexcept { return branch == feed_forward::swiglu ? 2 * hidden : hidden; }
  /// Whether the numbers fit together: nothing 0, heads divide width, kv_heads divide heads, rotary heads of even width.
  bool consistent() const noexcept;
  /// How long the parameter array is, without making it.
  std::uint64_t parameter_count() const noexcept;

  /// GPT-2 with `layers`, `width` and `heads`; 12, 768, 12 is the one of 124 million parameters.
  static transformer_shape gpt2(std::uint32_t vocabulary, std::uint32_t context, std::uint32_t layers, std::uint32_t width,
                                std::uint32_t heads);
};

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

  /// Initial weights from `seed`: normal with deviation 0.02, those that lead back to h divided by sqrt(2 layers); gains 1,
  /// biases 0. `shape` must be consistent.
  transformer(const transformer_shape& shape, std::uint64_t seed);

  const transformer_shape& shape() const noexcept { return shape_; }
  const std::vector<parameter_block>& blocks() const noexcept { return blocks_; }
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
  // Blocks of a layer after its first; a block the shape does not have is empty.
  enum in_layer : std::size_t { gain1, shift1, qkv, qkv_bias, out, out_bias, gain2, shift2, up, up_bias, down, down_bias };

  void add_block(std::string name, std::size_t rows, std::size_t columns, bool decays);
  void lay_out();
  void initialise(std::uint64_t seed);
  void reserve(transformer_workspace<T>& work, std::size_t sequences, std::size_t time) const;
  void forward(const token_batch& batch, transformer_workspace<T>& work) const;
  void norm_forward(std::size_t gain, matrix_view<const T> x, matrix_view<T> y, std::span<T> mean, std::span<T> inverse) const;
  void norm_backward(std::size_t gain, matrix_view<const T> dy, matrix_view<const T> x, std::span<const T> mean,
                     std::span<const T> inverse, matrix_view<T> dx, std::span<T> gradient, bool add) const;
  double head(const token_batch& batch, transformer_workspace<T>& work, std::span<T> gradient, const accumulation* how) const;
  void add_linear(matrix_view<const T> before, matrix_view<const T> x, std::size_t weight, matrix_view<T> y) const;
  attention_shape attention_of(const transformer_workspace<T>& work) const;

  std::size_t layer_block(std::size_t layer, in_layer which) const { return first_layer_ + layer * (down_bias + 1) + which; }
  std::size_t head_block() const { return shape_.tied ? 0 : blocks_.size() - 1; }
  std::size_t final_gain() const { return first_layer_ + shape_.layers * (down_bias + 1); }
  matrix_view<const T> matrix(std::size_t block) const;
  std::span<const T> vector(std::size_t block) const;
  matrix_view<T> matrix(std::span<T> of, std::size_t block) const;
  std::span<T> vector(std::span<T> of, std::size_t block) const;

  transformer_shape shape_;
  std::vector<parameter_block> blocks_;
  host_array<T> parameters_;
  rotary_table<T> rotary_;
  std::size_t first_layer_ = 2;            ///< after the tables of tokens and positions
};

} // namespace flywheel::gpu
