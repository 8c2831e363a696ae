#include "gpu/models/tabular_network.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/random.hpp"
#include "gpu/kernels/embedding.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/linear.hpp"
#include "gpu/kernels/piecewise_linear.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel::gpu {

namespace {

// Places of a layer's blocks after its first.
namespace in_number {
constexpr std::size_t slope = 0, bias = 1, absent = 2;
}
namespace in_residual {
constexpr std::size_t gain = 0, shift = 1, w1 = 2, b1 = 3, w2 = 4, b2 = 5;
}
namespace in_head {
constexpr std::size_t gain = 0, shift = 1, w = 2, b = 3;
}

template <class T> void add(matrix_view<T> to, matrix_view<const T> what) {
  for (std::size_t i = 0; i < to.rows; ++i) {
    T* a = to.row(i);
    const T* b = what.row(i);
    for (std::size_t j = 0; j < to.columns; ++j)
      a[j] += b[j];
  }
}

template <class T> void copy(matrix_view<const T> from, matrix_view<T> to) {
  for (std::size_t i = 0; i < to.rows; ++i)
    std::copy_n(from.row(i), to.columns, to.row(i));
}

dropout_site site_of(const dropout_plan& plan, std::size_t site) {
  return {plan.key, plan.step, static_cast<std::uint32_t>(site)};
}

template <class T> matrix_view<const T> read(matrix_view<T> x) { return x; }
template <class T> std::span<const T> read(std::span<T> x) { return x; }

} // namespace

std::uint32_t tabular_network_shape::category_width(std::size_t k) const {
  return std::min(category_width_max, std::max(1u, (categories[k] + 1) / 2));
}

std::size_t tabular_network_shape::input_width() const {
  std::size_t width = edges.size() * numeric_width;
  for (std::size_t k = 0; k < categories.size(); ++k)
    width += category_width(k);
  return width;
}

std::uint64_t tabular_network_shape::parameter_count() const {
  const std::uint64_t h = hidden;
  std::uint64_t count = (input_width() + 1) * h + blocks * (2 * h * h + 4 * h) + 2 * h + (h + 1) * outputs;
  for (const auto& e : edges)
    count += (e.size() + 1) * numeric_width;
  for (std::size_t k = 0; k < categories.size(); ++k)
    count += std::uint64_t{categories[k]} * category_width(k);
  return count;
}

template <class T>
tabular_network<T>::tabular_network(tabular_network_shape shape, std::uint64_t seed) : shape_(std::move(shape)) {
  FLYWHEEL_ASSERT(shape_.input_width() > 0 && shape_.hidden > 0 && shape_.outputs > 0, "an empty network");
  for (const auto& e : shape_.edges) {
    FLYWHEEL_ASSERT(e.size() >= 2 && std::is_sorted(e.begin(), e.end(), std::less_equal<>{}), "edges must increase");
    edges_.emplace_back(e.begin(), e.end());
  }
  lay_out();
  initialise(seed);
}

template <class T>
std::size_t tabular_network<T>::add_block(std::string name, std::size_t rows, std::size_t columns, bool decays) {
  const std::size_t offset = blocks_.empty() ? 0 : blocks_.back().offset + blocks_.back().size();
  blocks_.push_back({std::move(name), offset, rows, columns, decays});
  return blocks_.size() - 1;
}

template <class T> void tabular_network<T>::lay_out() {
  const std::size_t width = shape_.numeric_width, hidden = shape_.hidden;
  for (std::size_t f = 0; f < edges_.size(); ++f) {
    const auto name = "number" + std::to_string(f);
    numeric_.push_back(add_block(name + ".slope", edges_[f].size() - 1, width, false));
    add_block(name + ".bias", 1, width, false);
    add_block(name + ".absent", 1, width, false);
  }
  for (std::size_t k = 0; k < shape_.categories.size(); ++k)
    category_.push_back(add_block("category" + std::to_string(k) + ".table", shape_.categories[k], shape_.category_width(k), false));
  input_ = add_block("input.weight", shape_.input_width(), hidden, true);
  add_block("input.bias", 1, hidden, false);
  for (std::size_t b = 0; b < shape_.blocks; ++b) {
    const auto name = "block" + std::to_string(b);
    residual_.push_back(add_block(name + ".gain", 1, hidden, false));
    add_block(name + ".shift", 1, hidden, false);
    add_block(name + ".weight1", hidden, hidden, true);
    add_block(name + ".bias1", 1, hidden, false);
    add_block(name + ".weight2", hidden, hidden, true);
    add_block(name + ".bias2", 1, hidden, false);
  }
  head_ = add_block("head.gain", 1, hidden, false);
  add_block("head.shift", 1, hidden, false);
  add_block("head.weight", hidden, shape_.outputs, true);
  add_block("head.bias", 1, shape_.outputs, false);
  parameters_.assign(blocks_.back().offset + blocks_.back().size(), T(0));
  FLYWHEEL_ASSERT(parameters_.size() == shape_.parameter_count(), "the two ways of counting parameters");
}

template <class T> void tabular_network<T>::initialise(std::uint64_t seed) {
  auto random = random_source::derive(seed, "weights");
  const auto uniform = [&](std::size_t block, double bound) {
    for (T& w : vector(std::span<T>{parameters_}, block))
      w = static_cast<T>(random.uniform(-bound, bound));
  };
  const auto fill = [&](std::size_t block, T value) {
    std::ranges::fill(vector(std::span<T>{parameters_}, block), value);
  };
  for (const auto first : numeric_) {
    const double bound = 1 / std::sqrt(static_cast<double>(blocks_[first].rows));
    uniform(first + in_number::slope, bound);
    uniform(first + in_number::bias, bound);
    uniform(first + in_number::absent, bound); // not zero: there a ReLU's slope is 0 and it would never learn
  }
  for (const auto table : category_) {
    uniform(table, 1 / std::sqrt(static_cast<double>(blocks_[table].columns)));
    // Rarely or never seen in training, so "missing" starts as "says nothing".
    std::fill_n(matrix(std::span<T>{parameters_}, table).row(0), blocks_[table].columns, T(0));
  }
  const auto linear = [&](std::size_t weight) {
    const double bound = 1 / std::sqrt(static_cast<double>(blocks_[weight].rows));
    uniform(weight, bound);
    uniform(weight + 1, bound);
  };
  linear(input_);
  for (const auto first : residual_) {
    fill(first + in_residual::gain, T(1));
    linear(first + in_residual::w1);
    linear(first + in_residual::w2);
  }
  fill(head_ + in_head::gain, T(1));
  linear(head_ + in_head::w);
}

template <class T> matrix_view<const T> tabular_network<T>::matrix(std::size_t block) const {
  const auto& b = blocks_[block];
  return {parameters_.data() + b.offset, b.rows, b.columns};
}
template <class T> std::span<const T> tabular_network<T>::vector(std::size_t block) const {
  return {parameters_.data() + blocks_[block].offset, blocks_[block].size()};
}
template <class T> matrix_view<T> tabular_network<T>::matrix(std::span<T> of, std::size_t block) const {
  const auto& b = blocks_[block];
  return {of.data() + b.offset, b.rows, b.columns};
}
template <class T> std::span<T> tabular_network<T>::vector(std::span<T> of, std::size_t block) const {
  return of.subspan(blocks_[block].offset, blocks_[block].size());
}

template <class T> void tabular_network<T>::reserve(tabular_workspace<T>& work, std::size_t rows) const {
  const std::size_t z = shape_.input_width(), hidden = shape_.hidden, stages = shape_.blocks + 1;
  const std::size_t needed = rows * (3 * z + shape_.outputs + 3 * hidden + stages * (5 * hidden + 2));
  if (needed > work.storage.size())
    work.storage.resize(needed);
  work.stages.resize(stages);
  T* next = work.storage.data();
  const auto take = [&](std::size_t columns) {
    matrix_view<T> view{next, rows, columns};
    next += rows * columns;
    return view;
  };
  work.embedded = take(z), work.z = take(z), work.dz = take(z);
  work.dh = take(hidden), work.dbranch = take(hidden), work.dnormed = take(hidden);
  work.logits = take(shape_.outputs);
  for (auto& s : work.stages) {
    s.h = take(hidden), s.normed = take(hidden), s.linear = take(hidden), s.activated = take(hidden), s.branch = take(hidden);
    s.mean = {take(1).data, rows};
    s.inverse_deviation = {take(1).data, rows};
  }
}

template <class T> void tabular_network<T>::embed(const tabular_batch<T>& batch, tabular_workspace<T>& work) const {
  const std::size_t width = shape_.numeric_width;
  work.embedding_work.resize(numeric_.size());
  parallel_for(numeric_.size(), [&](std::size_t f) {
    const auto first = numeric_[f];
    piecewise_linear_forward<T>(batch.numbers.data + f, batch.numbers.stride, edges_[f],
                                {matrix(first + in_number::slope), vector(first + in_number::bias), vector(first + in_number::absent)},
                                work.embedded.columns_from(f * width, width), work.embedding_work[f]);
  });
  const std::size_t numbers = numeric_.size() * width;
  activation_forward(shape_.nonlinearity, read(work.embedded.columns_from(0, numbers)), work.z.columns_from(0, numbers));
  std::size_t at = numbers;
  for (std::size_t k = 0; k < category_.size(); ++k) {
    work.index.resize(batch.rows());
    for (std::size_t i = 0; i < batch.rows(); ++i)
      work.index[i] = batch.categories(i, k);
    const auto table = matrix(category_[k]);
    embedding_forward<T>(work.index, table, work.z.columns_from(at, table.columns));
    at += table.columns;
  }
}

template <class T>
void tabular_network<T>::embed_backward(const tabular_batch<T>& batch, tabular_workspace<T>& work, std::span<T> gradient) const {
  const std::size_t width = shape_.numeric_width, numbers = numeric_.size() * width;
  const auto dnumbers = work.dz.columns_from(0, numbers);
  activation_backward(shape_.nonlinearity, read(dnumbers), read(work.embedded.columns_from(0, numbers)), dnumbers);
  parallel_for(numeric_.size(), [&](std::size_t f) { // each number's parameters are its own
    const auto first = numeric_[f];
    piecewise_linear_backward<T>(batch.numbers.data + f, batch.numbers.stride, edges_[f], read(dnumbers.columns_from(f * width, width)),
                                 {matrix(gradient, first + in_number::slope), vector(gradient, first + in_number::bias),
                                  vector(gradient, first + in_number::absent)},
                                 work.embedding_work[f]);
  });
  std::size_t at = numbers;
  for (std::size_t k = 0; k < category_.size(); ++k) {
    for (std::size_t i = 0; i < batch.rows(); ++i)
      work.index[i] = batch.categories(i, k);
    const auto table = matrix(gradient, category_[k]);
    embedding_backward<T>(work.index, read(work.dz.columns_from(at, table.columns)), table);
    at += table.columns;
  }
}

template <class T>
void tabular_network<T>::forward(const tabular_batch<T>& batch, tabular_workspace<T>& work, const dropout_plan& plan) const {
  reserve(work, batch.rows());
  embed(batch, work);
  linear_forward<T>(work.z, matrix(input_), vector(input_ + 1), work.stages[0].h);
  for (std::size_t b = 0; b < residual_.size(); ++b) {
    const auto first = residual_[b];
    auto& s = work.stages[b];
    layer_norm_forward<T>(s.h, vector(first + in_residual::gain), vector(first + in_residual::shift), s.normed, s.mean, s.inverse_deviation);
    linear_forward<T>(s.normed, matrix(first + in_residual::w1), vector(first + in_residual::b1), s.linear);
    activation_forward(shape_.nonlinearity, read(s.linear), s.activated);
    dropout(s.activated, plan.rate, site_of(plan, 2 * b));
    linear_forward<T>(s.activated, matrix(first + in_residual::w2), vector(first + in_residual::b2), s.branch);
    dropout(s.branch, plan.rate, site_of(plan, 2 * b + 1));
    copy(read(s.h), work.stages[b + 1].h);
    add(work.stages[b + 1].h, read(s.branch));
  }
  auto& s = work.stages.back();
  layer_norm_forward<T>(s.h, vector(head_ + in_head::gain), vector(head_ + in_head::shift), s.normed, s.mean, s.inverse_deviation);
  activation_forward(shape_.nonlinearity, read(s.normed), s.activated);
  linear_forward<T>(s.activated, matrix(head_ + in_head::w), vector(head_ + in_head::b), work.logits);
}

template <class T>
void tabular_network<T>::backward(const tabular_batch<T>& batch, tabular_workspace<T>& work, const dropout_plan& plan,
                                  std::span<T> gradient) const {
  FLYWHEEL_ASSERT(gradient.size() == parameters_.size() && work.logits.rows == batch.rows(), "backward after its forward");
  const auto dmatrix = [&](std::size_t block) { return matrix(gradient, block); };
  const auto dvector = [&](std::size_t block) { return vector(gradient, block); };
  const auto& top = work.stages.back();
  linear_backward<T>(work.logits, top.activated, matrix(head_ + in_head::w), work.dnormed, dmatrix(head_ + in_head::w), dvector(head_ + in_head::b));
  activation_backward(shape_.nonlinearity, read(work.dnormed), read(top.normed), work.dnormed);
  layer_norm_backward<T>(work.dnormed, top.h, vector(head_ + in_head::gain), read(top.mean), read(top.inverse_deviation), work.dh,
                         dvector(head_ + in_head::gain), dvector(head_ + in_head::shift));
  for (std::size_t b = residual_.size(); b-- > 0;) {
    const auto first = residual_[b];
    const auto& s = work.stages[b];
    copy(read(work.dh), work.dbranch);
    dropout(work.dbranch, plan.rate, site_of(plan, 2 * b + 1));
    linear_backward<T>(work.dbranch, s.activated, matrix(first + in_residual::w2), work.dnormed, dmatrix(first + in_residual::w2), dvector(first + in_residual::b2));
    dropout(work.dnormed, plan.rate, site_of(plan, 2 * b));
    activation_backward(shape_.nonlinearity, read(work.dnormed), read(s.linear), work.dnormed);
    linear_backward<T>(work.dnormed, s.normed, matrix(first + in_residual::w1), work.dbranch, dmatrix(first + in_residual::w1), dvector(first + in_residual::b1));
    layer_norm_backward<T>(work.dbranch, s.h, vector(first + in_residual::gain), read(s.mean), read(s.inverse_deviation), work.dbranch,
                           dvector(first + in_residual::gain), dvector(first + in_residual::shift));
    add(work.dh, read(work.dbranch));
  }
  linear_backward<T>(work.dh, work.z, matrix(input_), work.dz, dmatrix(input_), dvector(input_ + 1));
  embed_backward(batch, work, gradient);
}

template class tabular_network<float>;
template class tabular_network<double>;

} // namespace flywheel::gpu
