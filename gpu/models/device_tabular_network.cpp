#include "gpu/models/device_tabular_network.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>
#include <numeric>
#include <string>

namespace flywheel::gpu {

namespace {

constexpr std::size_t granule = 4; // floats: 16 bytes, which products are aligned to
constexpr std::uint64_t norm_partials = 1024;

std::size_t rounded_up(std::size_t n) { return (n + granule - 1) / granule * granule; }

// Places of blocks after a layer's first; those of the residual's second product and of the head's follow likewise.
constexpr std::size_t weight1 = 2, weight2 = 4, head_weight = 2;

} // namespace

device_tabular_network::device_tabular_network(compute_device& device, stream order, const tabular_network<float>& network)
    : device_(device), order_(std::move(order)), shape_(network.shape()), host_blocks_(network.blocks()),
      parameter_count_(network.parameters().size()), outputs_(rounded_up(shape_.outputs)) {
  std::size_t row = numbers_width();
  for (std::size_t k = 0; k < shape_.categories.size(); ++k) {
    input_row_.push_back(row);
    row += rounded_up(shape_.category_width(k));
  }
  for (std::size_t b = 0; b < host_blocks_.size(); ++b) {
    const auto& h = host_blocks_[b];
    const bool padded = (b >= table_of(0) && b < input()) || b >= head() + head_weight;
    blocks_.push_back({device_count_, b == input() ? row : h.rows, padded ? rounded_up(h.columns) : h.columns, h.decays});
    device_count_ += rounded_up(blocks_.back().rows * blocks_.back().columns);
  }
}

result<std::unique_ptr<device_tabular_network>> device_tabular_network::make(compute_device& device, const tabular_network<float>& network) {
  const auto& s = network.shape();
  if (s.hidden % granule != 0 || (!s.edges.empty() && s.numeric_width % granule != 0))
    return error{errc::invalid_argument,
                 "on a device a tabular network's hidden width (" + std::to_string(s.hidden) + ") and the width of a number's vector (" +
                     std::to_string(s.numeric_width) + ") are multiples of 4",
                 device.name(), "choose other widths, or train on the CPU (gpu/models/tabular_network.hpp)"};
  FLYWHEEL_TRY(auto order, stream::make(device));
  std::unique_ptr<device_tabular_network> made{new device_tabular_network{device, std::move(order), network}};
  FLYWHEEL_CHECK(made->reserve_parameters(network.parameters()));
  return made;
}

status device_tabular_network::reserve_parameters(std::span<const float> parameters) {
  for (auto& t : of_parameters_) {
    FLYWHEEL_TRY(t, tensor::make(device_, number_type::f32, {device_count_}));
    t.zero(order_); // also what lies between the blocks: products and norms read it
  }
  FLYWHEEL_TRY(loss_, tensor::make(device_, number_type::f32, {1}));
  FLYWHEEL_TRY(norm_, tensor::make(device_, number_type::f32, {1}));
  FLYWHEEL_TRY(scale_, tensor::make(device_, number_type::f32, {1}));
  FLYWHEEL_TRY(partial_, tensor::make(device_, number_type::f64, {norm_partials}));
  loss_.zero(order_);
  std::vector<float> edges;
  std::vector<std::uint32_t> before{0};
  for (const auto& e : shape_.edges) {
    for (const double edge : e)
      edges.push_back(static_cast<float>(edge));
    before.push_back(before.back() + static_cast<std::uint32_t>(e.size() - 1));
  }
  segments_ = before.back();
  FLYWHEEL_TRY(edges_, tensor::make(device_, number_type::f32, {edges.size()}));
  FLYWHEEL_TRY(segments_before_, tensor::make(device_, number_type::u32, {before.size()}));
  FLYWHEEL_TRY(starts_, tensor::make(device_, number_type::f32, {segments_, shape_.numeric_width}));
  edges_.copy_from(order_, std::span<const float>{edges});
  segments_before_.copy_from(order_, std::span<const std::uint32_t>{before});
  FLYWHEEL_CHECK(order_.finish()); // before they go
  return write(state::parameters, parameters);
}

status device_tabular_network::reserve_rows(std::size_t rows) {
  if (rows_ == rows)
    return {};
  FLYWHEEL_CHECK(order_.finish()); // nothing may still work on what is given back
  rows_ = 0;
  const auto take = [&](tensor& to, number_type type, std::uint64_t r, std::uint64_t c) -> status {
    to = {}; // the old one goes before the new one comes
    FLYWHEEL_TRY(to, tensor::make(device_, type, {r, c}));
    return {};
  };
  const auto floats = [&](tensor& to, std::uint64_t r, std::uint64_t c) { return take(to, number_type::f32, r, c); };
  stages_.resize(shape_.blocks + 1);
  for (auto& s : stages_) {
    for (tensor* t : {&s.h, &s.normed, &s.linear, &s.activated})
      FLYWHEEL_CHECK(floats(*t, rows, shape_.hidden));
    FLYWHEEL_CHECK(floats(s.mean, rows, 1));
    FLYWHEEL_CHECK(floats(s.inverse, rows, 1));
  }
  FLYWHEEL_CHECK(floats(x_, rows, numbers()));
  FLYWHEEL_CHECK(floats(embedded_, rows, numbers_width()));
  FLYWHEEL_CHECK(floats(active_, rows, numbers_width()));
  FLYWHEEL_CHECK(floats(dactive_, rows, numbers_width()));
  FLYWHEEL_CHECK(take(segment_, number_type::u32, rows, numbers()));
  FLYWHEEL_CHECK(floats(part_, rows, numbers()));
  FLYWHEEL_CHECK(take(category_, number_type::u32, shape_.categories.size(), rows));
  vectors_.resize(shape_.categories.size());
  std::size_t widest = 0;
  for (std::size_t k = 0; k < vectors_.size(); ++k) {
    FLYWHEEL_CHECK(floats(vectors_[k], rows, blocks_[table_of(k)].columns));
    widest = std::max(widest, blocks_[table_of(k)].columns);
  }
  FLYWHEEL_CHECK(floats(dvectors_, rows, widest));
  FLYWHEEL_CHECK(take(label_, number_type::u32, rows, 1));
  FLYWHEEL_CHECK(take(row_, number_type::u32, rows, 1));
  FLYWHEEL_CHECK(floats(logits_, rows, outputs_));
  FLYWHEEL_CHECK(floats(row_loss_, rows, 1));
  for (tensor* t : {&dh_, &dbranch_, &dlinear_, &dnormed_})
    FLYWHEEL_CHECK(floats(*t, rows, shape_.hidden));
  std::vector<std::uint32_t> in_order(rows);
  std::iota(in_order.begin(), in_order.end(), 0u);
  row_.copy_from(order_, std::span<const std::uint32_t>{in_order});
  FLYWHEEL_CHECK(order_.finish());
  rows_ = rows;
  return {};
}

status device_tabular_network::begin(const tabular_batch<float>& batch) {
  FLYWHEEL_ASSERT(batch.rows() > 0, "a batch of rows");
  FLYWHEEL_CHECK(reserve_rows(batch.rows()));
  std::vector<float> x;
  std::vector<std::uint32_t> category;
  for (std::size_t i = 0; i < rows_ && numbers() > 0; ++i)
    x.insert(x.end(), batch.numbers.row(i), batch.numbers.row(i) + numbers());
  for (std::size_t k = 0; k < vectors_.size(); ++k)
    for (std::size_t i = 0; i < rows_; ++i)
      category.push_back(batch.categories(i, k));
  x_.copy_from(order_, std::span<const float>{x});
  category_.copy_from(order_, std::span<const std::uint32_t>{category});
  return order_.finish(); // before these go, and the caller's
}

// ---- operations ----------------------------------------------------------------------------------------------------

void device_tabular_network::product(const char* what, const float* a, std::uint64_t stride_a, bool transpose_a, const float* b,
                                     std::uint64_t stride_b, bool transpose_b, std::uint64_t m, std::uint64_t n, std::uint64_t k, float* c,
                                     float beta, const float* bias, const float* before) {
  const gemm_call call{.type = gemm_type::f32,
                       .epilogue = bias != nullptr ? gemm_epilogue::bias : gemm_epilogue::none,
                       .transpose_a = transpose_a,
                       .transpose_b = transpose_b,
                       .m = m,
                       .n = n,
                       .k = k,
                       .stride_a = stride_a,
                       .stride_b = stride_b,
                       .stride_c = n,
                       .alpha = 1,
                       .beta = beta,
                       .a = a,
                       .b = b,
                       .bias = bias,
                       .before = before,
                       .c = c,
                       .workspace = nullptr,
                       .workspace_bytes = 0};
  order_.run(what, device_.operations().gemm, &call);
}

void device_tabular_network::activate(const tensor& x, tensor& y) {
  const auto& ops = device_.operations();
  order_.run("activation", shape_.nonlinearity == activation::relu ? ops.relu_forward : ops.gelu_forward, x.data<float>(), y.data<float>(), x.size());
}

void device_tabular_network::activate_backward(tensor& dy, const tensor& x) {
  const auto& ops = device_.operations();
  order_.run("activation backward", shape_.nonlinearity == activation::relu ? ops.relu_backward : ops.gelu_backward, dy.data<float>(),
             x.data<float>(), dy.data<float>(), x.size());
}

void device_tabular_network::drop(tensor& x, const dropout_plan& plan, std::size_t site) {
  const std::uint64_t seed = plan.key.low | std::uint64_t{plan.key.high} << 32;
  order_.run("dropout", device_.operations().dropout, x.data<float>(), x.size(), plan.rate, seed, plan.step, static_cast<std::uint32_t>(site));
}

void device_tabular_network::norm(std::size_t gain, stage& s) {
  order_.run("layer_norm_forward", device_.operations().layer_norm_forward, s.h.data<float>(), at(state::parameters, gain),
             at(state::parameters, gain + 1), s.normed.data<float>(), s.mean.data<float>(), s.inverse.data<float>(), rows_, shape_.hidden);
}

void device_tabular_network::norm_backward(std::size_t gain, const stage& s, tensor& dh, bool add) {
  order_.run("layer_norm_backward", device_.operations().layer_norm_backward, dnormed_.data<float>(), s.h.data<float>(),
             at(state::parameters, gain), s.mean.data<float>(), s.inverse.data<float>(), dh.data<float>(), at(state::gradient, gain),
             at(state::gradient, gain + 1), rows_, shape_.hidden, add ? 1 : 0);
}

piecewise_linear_call device_tabular_network::numbers_call() {
  return {.rows = rows_,
          .numbers = numbers(),
          .width = shape_.numeric_width,
          .segments = segments_,
          .stride_x = numbers(),
          .stride_y = numbers_width(),
          .segments_before = segments_before_.data<std::uint32_t>(),
          .x = x_.data<float>(),
          .edges = edges_.data<float>(),
          .parameters = at(state::parameters, 0), // the numbers' blocks come first, and leave no gaps
          .y = embedded_.data<float>(),
          .segment = segment_.data<std::uint32_t>(),
          .part = part_.data<float>(),
          .starts = starts_.data<float>(),
          .dy = dactive_.data<float>(),
          .gradient = at(state::gradient, 0)};
}

// ---- forward -------------------------------------------------------------------------------------------------------

void device_tabular_network::put_forward(const dropout_plan& plan) {
  const auto& ops = device_.operations();
  const std::uint64_t hidden = shape_.hidden, width = numbers_width();
  float* h = stages_[0].h.data<float>();
  const float *bias = at(state::parameters, input() + 1), *before = nullptr;
  if (numbers() > 0) {
    const auto call = numbers_call();
    order_.run("piecewise_linear_forward", ops.piecewise_linear_forward, &call);
    activate(embedded_, active_);
    product("input", active_.data<float>(), width, false, at(state::parameters, input()), hidden, false, rows_, hidden, width, h, 0, bias);
    bias = nullptr, before = h;
  }
  for (std::size_t k = 0; k < vectors_.size(); ++k) {
    const std::uint64_t own = blocks_[table_of(k)].columns;
    order_.run("embedding_forward", ops.embedding_forward, category_.data<std::uint32_t>() + k * rows_, at(state::parameters, table_of(k)),
               vectors_[k].data<float>(), rows_, own, 0);
    product("input", vectors_[k].data<float>(), own, false, at(state::parameters, input()) + input_row_[k] * hidden, hidden, false, rows_, hidden,
            own, h, before == nullptr ? 0.0f : 1.0f, bias, before);
    bias = nullptr, before = h;
  }
  for (std::size_t b = 0; b < shape_.blocks; ++b) {
    auto &s = stages_[b], &next = stages_[b + 1];
    const std::size_t first = residual(b);
    norm(first, s);
    product("residual 1", s.normed.data<float>(), hidden, false, at(state::parameters, first + weight1), hidden, false, rows_, hidden, hidden,
            s.linear.data<float>(), 0, at(state::parameters, first + weight1 + 1));
    activate(s.linear, s.activated);
    const bool drops = plan.rate > 0;
    if (drops)
      drop(s.activated, plan, 2 * b);
    product("residual 2", s.activated.data<float>(), hidden, false, at(state::parameters, first + weight2), hidden, false, rows_, hidden, hidden,
            next.h.data<float>(), drops ? 0.0f : 1.0f, at(state::parameters, first + weight2 + 1), drops ? nullptr : s.h.data<float>());
    if (!drops)
      continue;
    drop(next.h, plan, 2 * b + 1);
    order_.run("residual sum", ops.embedding_forward, row_.data<std::uint32_t>(), s.h.data<float>(), next.h.data<float>(), rows_, hidden, 1);
  }
  auto& top = stages_.back();
  norm(head(), top);
  activate(top.normed, top.activated);
  product("head", top.activated.data<float>(), hidden, false, at(state::parameters, head() + head_weight), outputs_, false, rows_, outputs_, hidden,
          logits_.data<float>(), 0, at(state::parameters, head() + head_weight + 1));
}

status device_tabular_network::forward(const tabular_batch<float>& batch, const dropout_plan& plan, std::span<float> to) {
  FLYWHEEL_ASSERT(to.size() == batch.rows() * shape_.outputs, "room for every logit");
  FLYWHEEL_CHECK(begin(batch));
  put_forward(plan);
  std::vector<float> padded(logits_.size());
  logits_.copy_to(order_, std::span{padded});
  FLYWHEEL_CHECK(order_.finish());
  for (std::size_t i = 0; i < rows_; ++i)
    std::copy_n(padded.data() + i * outputs_, shape_.outputs, to.data() + i * shape_.outputs);
  return {};
}

// ---- backward ------------------------------------------------------------------------------------------------------

void device_tabular_network::put_linear_backward(std::size_t weight, const tensor& x, tensor& dy, tensor& dx) {
  const std::uint64_t k = blocks_[weight].rows, n = blocks_[weight].columns;
  order_.run("column_sums", device_.operations().column_sums, dy.data<float>(), at(state::gradient, weight + 1), rows_, n);
  product("weight gradient", x.data<float>(), k, true, dy.data<float>(), n, false, k, n, rows_, at(state::gradient, weight), 0);
  product("input gradient", dy.data<float>(), n, false, at(state::parameters, weight), n, true, rows_, k, n, dx.data<float>(), 0);
}

void device_tabular_network::put_input_backward(tensor& dh) {
  const auto& ops = device_.operations();
  const std::uint64_t hidden = shape_.hidden, width = numbers_width();
  const float *d = dh.data<float>(), *weight = at(state::parameters, input());
  float* dweight = at(state::gradient, input());
  order_.run("column_sums", ops.column_sums, d, at(state::gradient, input() + 1), rows_, hidden);
  if (numbers() > 0) {
    product("weight gradient", active_.data<float>(), width, true, d, hidden, false, width, hidden, rows_, dweight, 0);
    product("input gradient", d, hidden, false, weight, hidden, true, rows_, width, hidden, dactive_.data<float>(), 0);
    activate_backward(dactive_, embedded_);
    const auto call = numbers_call();
    order_.run("piecewise_linear_backward", ops.piecewise_linear_backward, &call);
  }
  for (std::size_t k = 0; k < vectors_.size(); ++k) {
    const std::uint64_t own = blocks_[table_of(k)].columns;
    product("weight gradient", vectors_[k].data<float>(), own, true, d, hidden, false, own, hidden, rows_, dweight + input_row_[k] * hidden, 0);
    product("input gradient", d, hidden, false, weight + input_row_[k] * hidden, hidden, true, rows_, own, hidden, dvectors_.data<float>(), 0);
    order_.run("embedding_backward", ops.embedding_backward, category_.data<std::uint32_t>() + k * rows_, dvectors_.data<float>(),
               at(state::gradient, table_of(k)), rows_, own);
  }
}

void device_tabular_network::put_backward(const dropout_plan& plan) {
  auto& top = stages_.back();
  put_linear_backward(head() + head_weight, top.activated, logits_, dnormed_);
  activate_backward(dnormed_, top.normed);
  norm_backward(head(), top, dh_, false);
  for (std::size_t b = shape_.blocks; b-- > 0;) {
    auto& s = stages_[b];
    const std::size_t first = residual(b);
    if (plan.rate > 0) {
      order_.run("copying a gradient", device_.operations().copy_on_device, dbranch_.memory(), dh_.memory(), dh_.bytes());
      drop(dbranch_, plan, 2 * b + 1);
    }
    put_linear_backward(first + weight2, s.activated, plan.rate > 0 ? dbranch_ : dh_, dlinear_);
    if (plan.rate > 0)
      drop(dlinear_, plan, 2 * b);
    activate_backward(dlinear_, s.linear);
    put_linear_backward(first + weight1, s.normed, dlinear_, dnormed_);
    norm_backward(first, s, dh_, true);
  }
  put_input_backward(dh_);
}

status device_tabular_network::backward(const tabular_batch<float>& batch, std::span<const std::uint32_t> label, const dropout_plan& plan) {
  FLYWHEEL_ASSERT(label.size() == batch.rows(), "a label for every row");
  FLYWHEEL_CHECK(begin(batch));
  label_.copy_from(order_, label);
  of_parameters_[static_cast<std::size_t>(state::gradient)].zero(order_); // what is only added to; products write over theirs
  put_forward(plan);
  order_.run("softmax_cross_entropy", device_.operations().softmax_cross_entropy, logits_.data<float>(), outputs_, label_.data<std::uint32_t>(),
             row_loss_.data<float>(), loss_.data<float>(), rows_, shape_.outputs, 0.0);
  put_backward(plan);
  return order_.finish(); // before the labels go
}

result<double> device_tabular_network::take_loss() {
  float loss = 0;
  loss_.copy_to(order_, std::span{&loss, 1});
  loss_.zero(order_);
  FLYWHEEL_CHECK(order_.finish());
  return static_cast<double>(loss);
}

status device_tabular_network::update(std::uint64_t step, const adamw_rule& rule) {
  FLYWHEEL_ASSERT(step > 0, "steps count from 1");
  const auto& ops = device_.operations();
  if (rule.norm_max > 0)
    order_.run("clip_scale", ops.clip_scale, at(state::gradient, 0), device_count_, rule.norm_max, partial_.data<double>(), norm_.data<float>(),
               scale_.data<float>());
  // Neighbours of one decay are updated together.
  for (std::size_t first = 0, last = 0; first < blocks_.size(); first = last) {
    for (last = first; last < blocks_.size() && blocks_[last].decays == blocks_[first].decays;)
      ++last;
    const std::size_t end = last < blocks_.size() ? blocks_[last].offset : device_count_;
    const adamw_call call{.size = end - blocks_[first].offset,
                          .step = step,
                          .rate = rule.rate,
                          .decay = blocks_[first].decays ? rule.decay : 0,
                          .beta1 = rule.options.beta1,
                          .beta2 = rule.options.beta2,
                          .epsilon = rule.options.epsilon,
                          .weights = at(state::parameters, first),
                          .gradient = at(state::gradient, first),
                          .moment1 = at(state::moment1, first),
                          .moment2 = at(state::moment2, first),
                          .narrow_weights = nullptr,
                          .gradient_scale = rule.norm_max > 0 ? scale_.data<float>() : nullptr};
    order_.run("adamw", ops.adamw, &call);
  }
  return order_.finish();
}

// ---- between the two layouts ---------------------------------------------------------------------------------------

template <class F> void device_tabular_network::each_stretch(const F& f) const {
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    const auto& host = host_blocks_[b];
    std::size_t to = 0, category = 0, left = numbers_width(); // of the input's weight: rows until those of the next category
    for (std::size_t i = 0; i < host.rows; ++i, ++to) {
      for (; b == input() && left == 0; ++category) {
        to = input_row_[category];
        left = shape_.category_width(category);
      }
      f(host.offset + i * host.columns, blocks_[b].offset + to * blocks_[b].columns, host.columns);
      left -= b == input() ? 1 : 0;
    }
  }
}

status device_tabular_network::read(state which, std::span<float> to) {
  FLYWHEEL_ASSERT(to.size() == parameter_count_, "room for every number");
  std::vector<float> padded(device_count_);
  of_parameters_[static_cast<std::size_t>(which)].copy_to(order_, std::span{padded});
  FLYWHEEL_CHECK(order_.finish());
  each_stretch([&](std::size_t host, std::size_t device, std::size_t count) { std::copy_n(padded.data() + device, count, to.data() + host); });
  return {};
}

status device_tabular_network::write(state which, std::span<const float> from) {
  FLYWHEEL_ASSERT(from.size() == parameter_count_, "a number for every parameter");
  std::vector<float> padded(device_count_);
  each_stretch([&](std::size_t host, std::size_t device, std::size_t count) { std::copy_n(from.data() + host, count, padded.data() + device); });
  of_parameters_[static_cast<std::size_t>(which)].copy_from(order_, std::span<const float>{padded});
  return order_.finish();
}

} // namespace flywheel::gpu
