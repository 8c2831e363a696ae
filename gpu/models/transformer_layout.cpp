#include "gpu/models/transformer_layout.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/random.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace flywheel::gpu {

bool transformer_shape::consistent() const noexcept {
  return vocabulary > 0 && context > 0 && layers > 0 && heads > 0 && kv_heads > 0 && hidden > 0 && width >= heads && width % heads == 0 &&
         heads % kv_heads == 0 && (position == positions::learnt || head_width() % 2 == 0);
}

std::uint64_t transformer_shape::parameter_count() const noexcept {
  const std::uint64_t w = width, a_norm = norm == normalisation::layer ? 2 * w : w;
  const std::uint64_t table = vocabulary * w, biases_of_layer = biases ? qkv_width() + w + up_width() + w : 0;
  const std::uint64_t layer = 2 * a_norm + w * qkv_width() + w * w + w * up_width() + hidden * w + biases_of_layer;
  return (tied ? 1 : 2) * table + (position == positions::learnt ? context * w : 0) + layers * layer + a_norm;
}

transformer_shape transformer_shape::gpt2(std::uint32_t vocabulary, std::uint32_t context, std::uint32_t layers,
                                          std::uint32_t width, std::uint32_t heads) {
  transformer_shape s;
  s.vocabulary = vocabulary, s.context = context, s.layers = layers, s.width = width, s.heads = s.kv_heads = heads;
  s.hidden = 4 * width;
  s.norm = normalisation::layer, s.branch = feed_forward::gelu, s.position = positions::learnt;
  s.biases = s.tied = true;
  return s;
}

void transformer_layout::add(std::string name, std::size_t rows, std::size_t columns, bool decays) {
  const std::size_t offset = blocks_.empty() ? 0 : blocks_.back().offset + blocks_.back().size();
  blocks_.push_back({std::move(name), offset, rows, columns, decays});
}

transformer_layout::transformer_layout(const transformer_shape& shape) : shape_(shape) {
  FLYWHEEL_ASSERT(shape_.consistent(), "a transformer's shape");
  const auto& s = shape_;
  const std::size_t shift = s.norm == normalisation::layer ? 1 : 0, bias = s.biases ? 1 : 0;
  add("token.table", s.vocabulary, s.width, false);
  add("position.table", s.position == positions::learnt ? s.context : 0, s.width, false);
  for (std::size_t i = 0; i < s.layers; ++i) {
    const auto name = "layer" + std::to_string(i);
    add(name + ".norm1.gain", 1, s.width, false);
    add(name + ".norm1.shift", shift, s.width, false);
    add(name + ".attention.qkv", s.width, s.qkv_width(), true);
    add(name + ".attention.qkv_bias", bias, s.qkv_width(), false);
    add(name + ".attention.out", s.width, s.width, true);
    add(name + ".attention.out_bias", bias, s.width, false);
    add(name + ".norm2.gain", 1, s.width, false);
    add(name + ".norm2.shift", shift, s.width, false);
    add(name + ".mlp.up", s.width, s.up_width(), true);
    add(name + ".mlp.up_bias", bias, s.up_width(), false);
    add(name + ".mlp.down", s.hidden, s.width, true);
    add(name + ".mlp.down_bias", bias, s.width, false);
  }
  add("norm.gain", 1, s.width, false);
  add("norm.shift", shift, s.width, false);
  if (!s.tied)
    add("head.table", s.vocabulary, s.width, true);
  FLYWHEEL_ASSERT(size() == shape_.parameter_count(), "the two ways of counting parameters");
}

template <class T> void transformer_layout::initialise(std::span<T> parameters, std::uint64_t seed) const {
  FLYWHEEL_ASSERT(parameters.size() == size(), "room for every parameter");
  const auto block_of = [&](std::size_t block) { return parameters.subspan(blocks_[block].offset, blocks_[block].size()); };
  std::ranges::fill(parameters, T(0));
  auto random = random_source::derive(seed, "weights");
  const auto normal = [&](std::size_t block, double deviation) {
    for (T& w : block_of(block))
      w = static_cast<T>(deviation * random.normal());
  };
  const auto ones = [&](std::size_t block) { std::ranges::fill(block_of(block), T(1)); };
  constexpr double deviation = 0.02;
  const double back_to_h = deviation / std::sqrt(2.0 * shape_.layers);
  normal(token_table, deviation);
  normal(position_table, deviation);
  for (std::size_t i = 0; i < shape_.layers; ++i) {
    ones(of_layer(i, gain1));
    ones(of_layer(i, gain2));
    normal(of_layer(i, qkv), deviation);
    normal(of_layer(i, out), back_to_h);
    normal(of_layer(i, up), deviation);
    normal(of_layer(i, down), back_to_h);
  }
  ones(final_gain());
  if (!shape_.tied)
    normal(head(), deviation);
}

template void transformer_layout::initialise<float>(std::span<float>, std::uint64_t) const;
template void transformer_layout::initialise<double>(std::span<double>, std::uint64_t) const;

} // namespace flywheel::gpu
