#pragma once
// The shape of a decoder-only transformer, and where its parameters lie in their one array.

#include "gpu/models/parameter_block.hpp"

#include <cstddef>
#include <cstdint>
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

/// One array of named blocks; gradients and moments are laid out alike. A block that the shape does not have is empty.
class transformer_layout {
public:
  /// Of a layer, in order. A weight's bias follows it, a gain's shift follows the gain.
  enum in_layer : std::size_t { gain1, shift1, qkv, qkv_bias, out, out_bias, gain2, shift2, up, up_bias, down, down_bias };
  enum table : std::size_t { token_table, position_table, first_layer };

  /// `shape` must be consistent.
  explicit transformer_layout(const transformer_shape& shape);

  const transformer_shape& shape() const noexcept { return shape_; }
  const std::vector<parameter_block>& blocks() const noexcept { return blocks_; }
  const parameter_block& operator[](std::size_t block) const { return blocks_[block]; }
  std::size_t size() const noexcept { return blocks_.back().offset + blocks_.back().size(); }

  std::size_t of_layer(std::size_t layer, in_layer which) const noexcept { return first_layer + layer * (down_bias + 1) + which; }
  std::size_t final_gain() const noexcept { return first_layer + shape_.layers * (down_bias + 1); }
  std::size_t head() const noexcept { return shape_.tied ? token_table : blocks_.size() - 1; }
  /// Whether backward only ever adds to this block's gradient; the others it overwrites by a product.
  bool only_added_to(std::size_t block) const { return !blocks_[block].decays && !(block == token_table && shape_.tied); }

  /// Initial weights from `seed`: normal with deviation 0.02, those that lead back to h divided by sqrt(2 layers); gains 1,
  /// biases 0. `parameters` has size() elements.
  template <class T> void initialise(std::span<T> parameters, std::uint64_t seed) const;

private:
  void add(std::string name, std::size_t rows, std::size_t columns, bool decays);

  transformer_shape shape_;
  std::vector<parameter_block> blocks_;
};

} // namespace flywheel::gpu
