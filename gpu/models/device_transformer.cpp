#include "gpu/models/device_transformer.hpp"

#include "gpu/kernels/rotary.hpp"

#include <algorithm>
#include <string>

namespace flywheel::gpu {

namespace {

constexpr std::uint64_t granule = 8; // elements: 16 bytes of bf16, which products are aligned to
constexpr std::uint64_t head_width_max = 128;
constexpr std::uint64_t norm_partials = 1024;

std::uint64_t rounded_up(std::uint64_t n) { return (n + granule - 1) / granule * granule; }

} // namespace

using enum transformer_layout::in_layer;

result<std::unique_ptr<device_transformer>> device_transformer::make(compute_device& device, const transformer_shape& shape,
                                                                     std::span<const float> parameters,
                                                                     const device_transformer_options& options) {
  FLYWHEEL_ASSERT(shape.consistent() && parameters.size() == shape.parameter_count(), "a transformer's shape and its parameters");
  if (shape.width % granule != 0 || shape.hidden % granule != 0 || shape.qkv_width() % granule != 0 || shape.head_width() > head_width_max)
    return error{errc::invalid_argument,
                 "on a device a transformer's width (" + std::to_string(shape.width) + "), hidden width (" + std::to_string(shape.hidden) +
                     ") and query, key and value width (" + std::to_string(shape.qkv_width()) + ") are multiples of 8, and a head (" +
                     std::to_string(shape.head_width()) + ") is at most 128 wide",
                 device.name(), "choose other widths, or train on the CPU (gpu/models/transformer.hpp)"};
  FLYWHEEL_TRY(auto order, stream::make(device));
  std::unique_ptr<device_transformer> made{new device_transformer{device, std::move(order), shape, options}};
  FLYWHEEL_CHECK(made->reserve_parameters(parameters));
  return made;
}

status device_transformer::reserve_parameters(std::span<const float> parameters) {
  const std::uint64_t size = layout_.size();
  for (auto& t : of_parameters_) {
    FLYWHEEL_TRY(t, tensor::make(device_, number_type::f32, {size}));
  }
  if (narrow()) {
    FLYWHEEL_TRY(narrow_parameters_, tensor::make(device_, number_type::bf16, {size}));
  }
  FLYWHEEL_TRY(loss_, tensor::make(device_, number_type::f32, {1}));
  FLYWHEEL_TRY(norm_, tensor::make(device_, number_type::f32, {1}));
  FLYWHEEL_TRY(scale_, tensor::make(device_, number_type::f32, {1}));
  FLYWHEEL_TRY(partial_, tensor::make(device_, number_type::f64, {norm_partials}));
  FLYWHEEL_TRY(workspace_, tensor::make(device_, number_type::u32, {options_.product_workspace / bytes_of(number_type::u32)}));
  loss_.zero(order_);
  numbers(state::moment1).zero(order_);
  numbers(state::moment2).zero(order_);
  const auto& s = layout_.shape();
  if (s.position == positions::rotary) {
    const rotary_table<float> angles{s.context, s.head_width(), s.rotary_base};
    FLYWHEEL_TRY(cosines_, tensor::make(device_, number_type::f32, {s.context, s.head_width() / 2}));
    FLYWHEEL_TRY(sines_, tensor::make(device_, number_type::f32, {s.context, s.head_width() / 2}));
    cosines_.copy_from(order_, angles.cosines());
    sines_.copy_from(order_, angles.sines());
    FLYWHEEL_CHECK(order_.finish()); // before the angles go
  }
  return write(state::parameters, parameters);
}

status device_transformer::reserve_rows(std::size_t sequences, std::size_t time) {
  if (sequences_ == sequences && time_ == time)
    return {};
  const auto& s = layout_.shape();
  const std::uint64_t rows = sequences * time;
  FLYWHEEL_CHECK(order_.finish()); // nothing may still work on what is given back
  sequences_ = time_ = 0;
  layers_.clear();
  logit_stride_ = rounded_up(s.vocabulary);
  logit_rows_ = std::clamp<std::size_t>(options_.logits_at_a_time / logit_stride_, 1, rows);
  // The old one goes before the new one comes.
  const auto take = [&](tensor& to, number_type type, std::uint64_t r, std::uint64_t c) -> status {
    to = {};
    FLYWHEEL_TRY(to, tensor::make(device_, type, {r, c}));
    return {};
  };
  const auto floats = [&](tensor& to, std::uint64_t r, std::uint64_t c) { return take(to, number_type::f32, r, c); };
  const auto operands = [&](tensor& to, std::uint64_t c) { return take(to, narrow() ? number_type::bf16 : number_type::f32, rows, c); };
  const bool centred = s.norm == normalisation::layer;
  layers_.resize(s.layers);
  for (auto& l : layers_) {
    FLYWHEEL_CHECK(floats(l.input, rows, s.width));
    FLYWHEEL_CHECK(operands(l.normed1, s.width));
    FLYWHEEL_CHECK(floats(l.qkv, rows, s.qkv_width()));
    FLYWHEEL_CHECK(floats(l.attended, rows, s.width));
    if (narrow())
      FLYWHEEL_CHECK(operands(l.attended_operand, s.width));
    FLYWHEEL_CHECK(floats(l.log_sum, s.heads, rows));
    FLYWHEEL_CHECK(floats(l.middle, rows, s.width));
    FLYWHEEL_CHECK(operands(l.normed2, s.width));
    FLYWHEEL_CHECK(floats(l.up, rows, s.up_width()));
    FLYWHEEL_CHECK(operands(l.activated, s.hidden));
    for (tensor* statistic : {&l.mean1, &l.inverse1, &l.mean2, &l.inverse2})
      if (centred || statistic == &l.inverse1 || statistic == &l.inverse2)
        FLYWHEEL_CHECK(floats(*statistic, rows, 1));
  }
  FLYWHEEL_CHECK(take(token_, number_type::u32, rows, 1));
  FLYWHEEL_CHECK(take(next_, number_type::u32, rows, 1));
  FLYWHEEL_CHECK(floats(output_, rows, s.width));
  FLYWHEEL_CHECK(operands(normed_, s.width));
  FLYWHEEL_CHECK(floats(logits_, logit_rows_, logit_stride_));
  FLYWHEEL_CHECK(floats(row_loss_, logit_rows_, 1));
  FLYWHEEL_CHECK(floats(mean_, rows, 1));
  FLYWHEEL_CHECK(floats(inverse_, rows, 1));
  FLYWHEEL_CHECK(floats(dh_, rows, s.width));
  FLYWHEEL_CHECK(floats(dwide_, rows, s.hidden));
  FLYWHEEL_CHECK(floats(dqkv_, rows, s.qkv_width()));
  FLYWHEEL_CHECK(floats(dnarrow_, rows, s.width));
  FLYWHEEL_CHECK(floats(row_work_, s.heads, rows));
  if (narrow()) {
    const std::uint64_t widest = std::max({std::uint64_t{s.width}, std::uint64_t{s.hidden}, std::uint64_t{s.up_width()}, std::uint64_t{s.qkv_width()}});
    FLYWHEEL_CHECK(floats(wide_, rows, std::max(s.width, s.hidden)));
    FLYWHEEL_CHECK(take(narrow_, number_type::bf16, std::max(rows * widest, logit_rows_ * logit_stride_), 1));
  }
  if (s.position == positions::learnt) {
    FLYWHEEL_CHECK(take(position_, number_type::u32, rows, 1));
    std::vector<std::uint32_t> at(rows);
    for (std::uint64_t i = 0; i < rows; ++i)
      at[i] = static_cast<std::uint32_t>(i % time);
    position_.copy_from(order_, std::span<const std::uint32_t>{at});
    FLYWHEEL_CHECK(order_.finish());
  }
  sequences_ = sequences, time_ = time;
  return {};
}

// ---- products ------------------------------------------------------------------------------------------------------

device_transformer::operand device_transformer::weight(std::size_t block, bool transposed) {
  const auto& b = layout_[block];
  if (narrow())
    return {narrow_parameters_.data<std::uint16_t>() + b.offset, b.columns, transposed};
  return {parameter(block), b.columns, transposed};
}

device_transformer::operand device_transformer::slice(const tensor& of, std::uint64_t first_row, std::uint64_t width, bool transposed) {
  return {static_cast<const std::byte*>(of.memory()) + first_row * width * bytes_of(of.type()), width, transposed};
}

float* device_transformer::floats_for(tensor& kept) { return narrow() ? wide_.data<float>() : kept.data<float>(); }

void device_transformer::narrow_into(const float* from, tensor& to, std::uint64_t size) {
  order_.run("to_bf16", device_.operations().to_bf16, from, to.data<std::uint16_t>(), size);
}

device_transformer::operand device_transformer::kept_operand(tensor& kept, std::uint64_t width, bool transposed) {
  if (narrow())
    narrow_into(wide_.data<float>(), kept, kept.size());
  return slice(kept, 0, width, transposed);
}

device_transformer::operand device_transformer::narrowed(const float* from, std::uint64_t rows, std::uint64_t width, bool transposed) {
  if (!narrow())
    return {from, width, transposed};
  narrow_into(from, narrow_, rows * width);
  return {narrow_.data<std::uint16_t>(), width, transposed};
}

void device_transformer::product(const char* what, operand a, operand b, std::uint64_t m, std::uint64_t n, std::uint64_t k, float* c,
                                 std::uint64_t stride_c, float beta, const float* bias, const float* before) {
  const gemm_type type = narrow() ? gemm_type::bf16 : options_.products == arithmetic::tf32 ? gemm_type::f32_by_tf32 : gemm_type::f32;
  const gemm_call call{.type = type,
                       .epilogue = bias != nullptr ? gemm_epilogue::bias : gemm_epilogue::none,
                       .transpose_a = a.transposed,
                       .transpose_b = b.transposed,
                       .m = m,
                       .n = n,
                       .k = k,
                       .stride_a = a.stride,
                       .stride_b = b.stride,
                       .stride_c = stride_c,
                       .alpha = 1,
                       .beta = beta,
                       .a = a.data,
                       .b = b.data,
                       .bias = bias,
                       .before = before,
                       .c = c,
                       .workspace = workspace_.memory(),
                       .workspace_bytes = workspace_.bytes()};
  order_.run(what, device_.operations().gemm, &call);
}

// ---- forward -------------------------------------------------------------------------------------------------------

void device_transformer::norm_forward(std::size_t gain, const tensor& x, float* y, tensor& mean, tensor& inverse) {
  const auto& s = layout_.shape();
  const auto& ops = device_.operations();
  const std::uint64_t rows = sequences_ * time_;
  if (s.norm == normalisation::rms)
    order_.run("rms_norm_forward", ops.rms_norm_forward, x.data<float>(), parameter(gain), y, inverse.data<float>(), rows, s.width);
  else
    order_.run("layer_norm_forward", ops.layer_norm_forward, x.data<float>(), parameter(gain), parameter(gain + 1), y, mean.data<float>(),
               inverse.data<float>(), rows, s.width);
}

attention_call device_transformer::attention_of(layer& l) {
  const auto& s = layout_.shape();
  const std::uint64_t heads = s.heads * s.head_width(), kv = s.kv_heads * s.head_width(), all = s.qkv_width();
  const float* q = l.qkv.data<float>();
  float* dq = dqkv_.data<float>();
  return {.sequences = sequences_,
          .time = time_,
          .heads = s.heads,
          .kv_heads = s.kv_heads,
          .head_width = s.head_width(),
          .stride_q = all,
          .stride_k = all,
          .stride_v = all,
          .stride_out = heads,
          .q = q,
          .k = q + heads,
          .v = q + heads + kv,
          .out = l.attended.data<float>(),
          .log_sum = l.log_sum.data<float>(),
          .dout = dnarrow_.data<float>(),
          .dq = dq,
          .dk = dq + heads,
          .dv = dq + heads + kv,
          .row_work = row_work_.data<float>()};
}

status device_transformer::begin(const token_batch& batch) {
  FLYWHEEL_ASSERT(batch.token.size() == batch.rows() && batch.next.size() == batch.rows(), "as many tokens as the batch says");
  FLYWHEEL_ASSERT(batch.rows() > 0 && batch.time <= layout_.shape().context, "a batch no longer than the context");
  FLYWHEEL_CHECK(reserve_rows(batch.sequences, batch.time));
  token_.copy_from(order_, batch.token);
  next_.copy_from(order_, batch.next);
  return {};
}

void device_transformer::put_forward() {
  const auto& s = layout_.shape();
  const auto& ops = device_.operations();
  const std::uint64_t rows = sequences_ * time_, w = s.width;
  order_.run("embedding_forward", ops.embedding_forward, token_.data<std::uint32_t>(), parameter(transformer_layout::token_table),
             layers_[0].input.data<float>(), rows, w, 0);
  if (s.position == positions::learnt)
    order_.run("embedding_forward", ops.embedding_forward, position_.data<std::uint32_t>(), parameter(transformer_layout::position_table),
               layers_[0].input.data<float>(), rows, w, 1);
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto& l = layers_[i];
    const auto block = [&](transformer_layout::in_layer which) { return layout_.of_layer(i, which); };
    norm_forward(block(gain1), l.input, floats_for(l.normed1), l.mean1, l.inverse1);
    product("qkv", kept_operand(l.normed1, w), weight(block(qkv)), rows, s.qkv_width(), w, l.qkv.data<float>(), s.qkv_width(), 0, bias(block(qkv_bias)));
    if (s.position == positions::rotary)
      order_.run("rotary", ops.rotary, l.qkv.data<float>(), s.qkv_width(), rows, s.heads + s.kv_heads, s.head_width(), time_,
                 cosines_.data<float>(), sines_.data<float>(), 1.0f);
    const auto attention = attention_of(l);
    order_.run("attention_forward", ops.attention_forward, &attention);
    if (narrow())
      narrow_into(l.attended.data<float>(), l.attended_operand, l.attended.size());
    product("attention out", slice(narrow() ? l.attended_operand : l.attended, 0, w), weight(block(out)), rows, w, w, l.middle.data<float>(), w, 1,
            bias(block(out_bias)), l.input.data<float>());
    norm_forward(block(gain2), l.middle, floats_for(l.normed2), l.mean2, l.inverse2);
    product("mlp up", kept_operand(l.normed2, w), weight(block(up)), rows, s.up_width(), w, l.up.data<float>(), s.up_width(), 0, bias(block(up_bias)));
    if (s.branch == feed_forward::swiglu)
      order_.run("swiglu_forward", ops.swiglu_forward, l.up.data<float>(), floats_for(l.activated), rows, s.hidden);
    else
      order_.run("gelu_forward", ops.gelu_forward, l.up.data<float>(), floats_for(l.activated), rows * s.hidden);
    tensor& to = i + 1 < s.layers ? layers_[i + 1].input : output_;
    product("mlp down", kept_operand(l.activated, s.hidden), weight(block(down)), rows, w, s.hidden, to.data<float>(), w, 1, bias(block(down_bias)),
            l.middle.data<float>());
  }
  norm_forward(layout_.final_gain(), output_, floats_for(normed_), mean_, inverse_);
  static_cast<void>(kept_operand(normed_, w));
}

/// The loss, chunk by chunk; where `how` is given also the head's gradient, and that of `normed_`, into `dnarrow_`.
void device_transformer::put_head(const accumulation* how) {
  const auto& s = layout_.shape();
  const std::uint64_t rows = sequences_ * time_, w = s.width, vocabulary = s.vocabulary;
  const double batches = how != nullptr ? how->batches : 1;
  for (std::uint64_t first = 0; first < rows; first += logit_rows_) {
    const std::uint64_t count = std::min<std::uint64_t>(logit_rows_, rows - first);
    product("logits", slice(normed_, first, w), weight(layout_.head(), true), count, vocabulary, w, logits_.data<float>(), logit_stride_, 0);
    order_.run("softmax_cross_entropy", device_.operations().softmax_cross_entropy, logits_.data<float>(), logit_stride_,
               next_.data<std::uint32_t>() + first, row_loss_.data<float>(), loss_.data<float>(), count, vocabulary,
               static_cast<double>(rows) * batches);
    if (how == nullptr)
      continue;
    const bool over = how->write == gradient_write::over && first == 0;
    operand dlogits = narrowed(logits_.data<float>(), count, logit_stride_);
    product("head backward", dlogits, weight(layout_.head()), count, w, vocabulary, dnarrow_.data<float>() + first * w, w, 0);
    dlogits.transposed = true;
    product("head gradient", dlogits, slice(normed_, first, w), vocabulary, w, count, slope(layout_.head()), w, over ? 0 : 1);
  }
}

status device_transformer::forward(const token_batch& batch) {
  FLYWHEEL_CHECK(begin(batch));
  put_forward();
  put_head(nullptr);
  return {};
}

// ---- backward ------------------------------------------------------------------------------------------------------

void device_transformer::norm_backward(std::size_t gain, const tensor& dy, const tensor& x, const tensor& mean, const tensor& inverse, tensor& dx, bool add) {
  const auto& s = layout_.shape();
  const auto& ops = device_.operations();
  const std::uint64_t rows = sequences_ * time_;
  if (s.norm == normalisation::rms)
    order_.run("rms_norm_backward", ops.rms_norm_backward, dy.data<float>(), x.data<float>(), parameter(gain), inverse.data<float>(),
               dx.data<float>(), slope(gain), rows, s.width, add ? 1 : 0);
  else
    order_.run("layer_norm_backward", ops.layer_norm_backward, dy.data<float>(), x.data<float>(), parameter(gain), mean.data<float>(),
               inverse.data<float>(), dx.data<float>(), slope(gain), slope(gain + 1), rows, s.width, add ? 1 : 0);
}

void device_transformer::complete(std::size_t first_block, std::size_t last_block, const gradient_ready& ready) const {
  const std::size_t offset = layout_[first_block].offset, end = layout_[last_block].offset + layout_[last_block].size();
  if (ready && end > offset)
    ready(offset, end - offset);
}

/// dx = dy w', dw (+)= x' dy, db += sums of dy.
void device_transformer::linear_backward(std::size_t block, const float* dy, tensor& x, float* dx, const accumulation& how, const gradient_ready& ready) {
  const auto& b = layout_[block];
  const std::uint64_t rows = sequences_ * time_;
  const operand slopes = narrowed(dy, rows, b.columns);
  product("weight gradient", slice(x, 0, b.rows, true), slopes, b.rows, b.columns, rows, slope(block), b.columns,
          how.write == gradient_write::over ? 0 : 1);
  if (layout_[block + 1].size() != 0)
    order_.run("column_sums", device_.operations().column_sums, dy, slope(block + 1), rows, b.columns);
  product("input gradient", slopes, weight(block, true), rows, b.rows, b.columns, dx, b.rows, 0);
  complete(block, block + 1, ready);
}

void device_transformer::put_layer_backward(std::size_t i, const accumulation& how, const gradient_ready& ready) {
  const auto& s = layout_.shape();
  const auto& ops = device_.operations();
  const std::uint64_t rows = sequences_ * time_;
  auto& l = layers_[i];
  const auto block = [&](transformer_layout::in_layer which) { return layout_.of_layer(i, which); };
  float *dh = dh_.data<float>(), *dwide = dwide_.data<float>(), *dnarrow = dnarrow_.data<float>();
  linear_backward(block(down), dh, l.activated, dwide, how, ready);
  if (s.branch == feed_forward::swiglu) {
    order_.run("swiglu_backward", ops.swiglu_backward, dwide, l.up.data<float>(), rows, s.hidden); // l.up is its own gradient now
    linear_backward(block(up), l.up.data<float>(), l.normed2, dnarrow, how, ready);
  } else {
    order_.run("gelu_backward", ops.gelu_backward, dwide, l.up.data<float>(), dwide, rows * s.hidden);
    linear_backward(block(up), dwide, l.normed2, dnarrow, how, ready);
  }
  norm_backward(block(gain2), dnarrow_, l.middle, l.mean2, l.inverse2, dh_, true);
  complete(block(gain2), block(shift2), ready);
  linear_backward(block(out), dh, narrow() ? l.attended_operand : l.attended, dnarrow, how, ready);
  const auto attention = attention_of(l);
  order_.run("attention_backward", ops.attention_backward, &attention);
  if (s.position == positions::rotary)
    order_.run("rotary", ops.rotary, dqkv_.data<float>(), s.qkv_width(), rows, s.heads + s.kv_heads, s.head_width(), time_,
               cosines_.data<float>(), sines_.data<float>(), -1.0f);
  linear_backward(block(qkv), dqkv_.data<float>(), l.normed1, dnarrow, how, ready);
  norm_backward(block(gain1), dnarrow_, l.input, l.mean1, l.inverse1, dh_, true);
  complete(block(gain1), block(shift1), ready);
}

void device_transformer::put_embedding_backward() {
  const auto& s = layout_.shape();
  const auto& ops = device_.operations();
  const std::uint64_t rows = sequences_ * time_;
  order_.run("embedding_backward", ops.embedding_backward, token_.data<std::uint32_t>(), dh_.data<float>(), slope(transformer_layout::token_table), rows, s.width);
  if (s.position == positions::learnt)
    order_.run("embedding_backward", ops.embedding_backward, position_.data<std::uint32_t>(), dh_.data<float>(), slope(transformer_layout::position_table),
               rows, s.width);
}

status device_transformer::backward(const token_batch& batch, const accumulation& how, const gradient_ready& ready) {
  FLYWHEEL_CHECK(begin(batch));
  if (how.write == gradient_write::over)
    for (std::size_t b = 0; b < layout_.blocks().size(); ++b)
      if (layout_.only_added_to(b) && layout_[b].size() != 0)
        order_.run("clearing a gradient", device_.operations().fill_zero, slope(b), layout_[b].size() * sizeof(float));
  put_forward();
  put_head(&how);
  if (!layout_.shape().tied)
    complete(layout_.head(), layout_.head(), ready);
  norm_backward(layout_.final_gain(), dnarrow_, output_, mean_, inverse_, dh_, false);
  complete(layout_.final_gain(), layout_.final_gain() + 1, ready);
  for (std::size_t i = layers_.size(); i-- > 0;)
    put_layer_backward(i, how, ready);
  put_embedding_backward();
  complete(transformer_layout::token_table, transformer_layout::position_table, ready);
  return {};
}

// ---- what comes out, and the update --------------------------------------------------------------------------------

result<double> device_transformer::take_loss() {
  float loss = 0;
  loss_.copy_to(order_, std::span{&loss, 1});
  loss_.zero(order_);
  FLYWHEEL_CHECK(order_.finish());
  return static_cast<double>(loss);
}

status device_transformer::update(std::uint64_t step, const adamw_rule& rule) {
  FLYWHEEL_ASSERT(step > 0, "steps count from 1");
  const auto& ops = device_.operations();
  norm_known_ = rule.norm_max > 0;
  if (norm_known_)
    order_.run("clip_scale", ops.clip_scale, numbers(state::gradient).data<float>(), layout_.size(), rule.norm_max, partial_.data<double>(),
               norm_.data<float>(), scale_.data<float>());
  // Neighbours of one decay are updated together.
  const auto& blocks = layout_.blocks();
  for (std::size_t first = 0, last = 0; first < blocks.size(); first = last) {
    std::uint64_t size = 0;
    for (last = first; last < blocks.size() && (blocks[last].decays == blocks[first].decays || blocks[last].size() == 0); ++last)
      size += blocks[last].size();
    const std::uint64_t offset = blocks[first].offset;
    const auto at = [&](state which) { return numbers(which).data<float>() + offset; };
    const adamw_call call{.size = size,
                          .step = step,
                          .rate = rule.rate,
                          .decay = blocks[first].decays ? rule.decay : 0,
                          .beta1 = rule.options.beta1,
                          .beta2 = rule.options.beta2,
                          .epsilon = rule.options.epsilon,
                          .weights = at(state::parameters),
                          .gradient = at(state::gradient),
                          .moment1 = at(state::moment1),
                          .moment2 = at(state::moment2),
                          .narrow_weights = narrow() ? narrow_parameters_.data<std::uint16_t>() + offset : nullptr,
                          .gradient_scale = norm_known_ ? scale_.data<float>() : nullptr};
    order_.run("adamw", ops.adamw, &call);
  }
  return {};
}

result<double> device_transformer::gradient_norm() {
  float norm = 0;
  if (norm_known_)
    norm_.copy_to(order_, std::span{&norm, 1});
  FLYWHEEL_CHECK(order_.finish());
  return static_cast<double>(norm);
}

status device_transformer::read(state which, std::span<float> to) {
  FLYWHEEL_ASSERT(to.size() == layout_.size(), "room for every number");
  numbers(which).copy_to(order_, to);
  return order_.finish();
}

status device_transformer::write(state which, std::span<const float> from) {
  FLYWHEEL_ASSERT(from.size() == layout_.size(), "a number for every parameter");
  numbers(which).copy_from(order_, from);
  if (which == state::parameters && narrow())
    narrow_into(parameter(0), narrow_parameters_, layout_.size());
  return order_.finish();
}

} // namespace flywheel::gpu
