#include "gpu/models/tabular_network.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/random.hpp"
#include "gpu/kernels/embedding.hpp"
#include "gpu/kernels/layer_norm.hpp"
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

template <class T> void copy(matrix_view<const T> from, matrix_view<T> to) {
  for (std::size_t i = 0; i < to.rows; ++i)
    std::copy_n(from.row(i), to.columns, to.row(i));
}

dropout_site site_of(const dropout_plan& plan, std::size_t site) {
  return {plan.key, plan.step, static_cast<std::uint32_t>(site)};
}

template <class T> matrix_view<const T> read(matrix_view<T> x) { return x; }

// A stretch of rows: its layers' inputs and outputs lie in the second cache together, beside the weights of a network of
// usual size; a batch of 256 makes eight. Each stretch has sums of its own, so that their number is bounded.
constexpr std::size_t stretch_shortest = 32, stretches_max = 64;

std::size_t stretch_of(std::size_t rows) {
  return std::max(stretch_shortest, (rows + stretches_max - 1) / stretches_max);
}

// A multiple of the product's tile; several parts a weight, for as many threads.
constexpr std::size_t weight_rows_a_part = 48;

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
  for (std::size_t layer = 0; layer < layers(); ++layer) {
    const std::size_t rows = blocks_[weight_of(layer)].rows;
    for (std::size_t first = 0; first < rows; first += weight_rows_a_part)
      weight_parts_.push_back({layer, first, std::min(weight_rows_a_part, rows - first)});
  }
  sum_at_.resize(blocks_.size());
  for (std::size_t block = input_; block < blocks_.size(); ++block) {
    sum_at_[block] = sums_;
    sums_ += blocks_[block].decays ? 0 : blocks_[block].size();
  }
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

template <class T> std::size_t tabular_network<T>::weight_of(std::size_t layer) const {
  if (layer == 0)
    return input_;
  if (layer == layers() - 1)
    return head_ + in_head::w;
  return residual_[(layer - 1) / 2] + (layer % 2 == 1 ? in_residual::w1 : in_residual::w2);
}

template <class T> void tabular_network<T>::reserve(tabular_workspace<T>& work, std::size_t rows) const {
  const std::size_t stages = shape_.blocks + 1, stretches = (rows + stretch_of(rows) - 1) / stretch_of(rows);
  work.stages.resize(stages);
  work.weights.resize(layers());
  work.packed.resize(layers());
  work.embedding_work.resize(numeric_.size());
  work.index.resize(rows * category_.size());
  // Twice: to measure, and to hand out.
  const auto lay_out = [&](T* base) {
    std::size_t next = 0;
    const auto take = [&](std::size_t count) {
      T* place = base == nullptr ? nullptr : base + next;
      next += (count + panel_width<T> - 1) / panel_width<T> * panel_width<T>;
      return place;
    };
    const auto take_rows = [&](std::size_t columns) {
      const std::size_t stride = panel_stride<T>(columns);
      return matrix_view<T>{take(rows * stride), rows, columns, stride};
    };
    work.embedded = take_rows(shape_.input_width()), work.z = take_rows(shape_.input_width()), work.dz = take_rows(shape_.input_width());
    work.dnormed = take_rows(shape_.hidden), work.dlogits = take_rows(shape_.outputs);
    work.logits = {take(rows * shape_.outputs), rows, shape_.outputs};
    for (auto& s : work.stages) {
      for (auto* m : {&s.h, &s.normed, &s.linear, &s.activated, &s.dh, &s.dbranch, &s.dlinear})
        *m = take_rows(shape_.hidden);
      s.mean = {take(rows), rows}, s.inverse_deviation = {take(rows), rows};
    }
    for (std::size_t layer = 0; layer < layers(); ++layer) {
      const auto& w = blocks_[weight_of(layer)];
      work.packed[layer] = take(std::max(packed_size<T>(w.rows, w.columns), packed_size<T>(w.columns, w.rows)));
    }
    work.sums = {take(stretches * sums_), stretches, sums_};
    return next;
  };
  const std::size_t needed = lay_out(nullptr);
  if (needed > work.storage.size())
    work.storage = host_array<T>(needed);
  lay_out(work.storage.data());
}

template <class T> void tabular_network<T>::prepare(op o, tabular_workspace<T>& work) const {
  parallel_for(layers() + 1, [&](std::size_t i) {
    if (i < layers()) {
      work.weights[i] = pack<T>(o, matrix(weight_of(i)), work.packed[i]);
      return;
    }
    for (std::size_t f = 0; f < numeric_.size() && o == op::plain; ++f) {
      const auto block = numeric_[f];
      piecewise_linear_starts<T>({matrix(block + in_number::slope), vector(block + in_number::bias), vector(block + in_number::absent)},
                                 work.embedding_work[f]);
    }
  });
}

template <class T>
void tabular_network<T>::embed_rows(const tabular_batch<T>& batch, tabular_workspace<T>& work, std::size_t first, std::size_t count) const {
  const std::size_t width = shape_.numeric_width, numbers = numeric_.size() * width;
  for (std::size_t f = 0; f < numeric_.size(); ++f) {
    const auto block = numeric_[f];
    piecewise_linear_rows<T>(batch.numbers.row(first) + f, batch.numbers.stride, edges_[f],
                             {matrix(block + in_number::slope), vector(block + in_number::bias), vector(block + in_number::absent)},
                             work.embedding_work[f], work.embedded.columns_from(f * width, width).rows_from(first, count));
  }
  activation_forward<T>(shape_.nonlinearity, work.embedded.columns_from(0, numbers).rows_from(first, count),
                        work.z.columns_from(0, numbers).rows_from(first, count));
  std::size_t at = numbers;
  for (std::size_t k = 0; k < category_.size(); ++k) {
    const auto index = std::span{work.index}.subspan(k * batch.rows() + first, count);
    for (std::size_t i = 0; i < count; ++i)
      index[i] = batch.categories(first + i, k);
    const auto table = matrix(category_[k]);
    embedding_forward<T>(index, table, work.z.columns_from(at, table.columns).rows_from(first, count));
    at += table.columns;
  }
}

template <class T>
void tabular_network<T>::forward_rows(const tabular_batch<T>& batch, tabular_workspace<T>& work, const dropout_plan& plan,
                                      std::size_t first, std::size_t count) const {
  const auto rows = [&](matrix_view<T> m) { return m.rows_from(first, count); };
  const auto linear = [&](std::size_t layer, matrix_view<T> x, matrix_view<T> y) {
    panel_product<T>(op::plain, rows(x), work.weights[layer], vector(weight_of(layer) + 1), rows(y));
  };
  const auto norm = [&](auto& s, std::size_t gain) {
    layer_norm_forward<T>(rows(s.h), vector(gain), vector(gain + 1), rows(s.normed), s.mean.subspan(first, count),
                          s.inverse_deviation.subspan(first, count));
  };
  embed_rows(batch, work, first, count);
  linear(0, work.z, work.stages[0].h);
  for (std::size_t b = 0; b < residual_.size(); ++b) {
    auto &s = work.stages[b], &next = work.stages[b + 1];
    norm(s, residual_[b] + in_residual::gain);
    linear(2 * b + 1, s.normed, s.linear);
    activation_forward<T>(shape_.nonlinearity, rows(s.linear), rows(s.activated));
    dropout(rows(s.activated), plan.rate, site_of(plan, 2 * b), first);
    linear(2 * b + 2, s.activated, next.h);
    dropout(rows(next.h), plan.rate, site_of(plan, 2 * b + 1), first);
    add_matrix<T>(rows(s.h), rows(next.h));
  }
  auto& top = work.stages.back();
  norm(top, head_ + in_head::gain);
  activation_forward<T>(shape_.nonlinearity, rows(top.normed), rows(top.activated));
  linear(layers() - 1, top.activated, work.logits);
}

template <class T>
void tabular_network<T>::forward(const tabular_batch<T>& batch, tabular_workspace<T>& work, const dropout_plan& plan) const {
  reserve(work, batch.rows());
  prepare(op::plain, work);
  parallel_ranges(batch.rows(), stretch_of(batch.rows()),
                  [&](std::size_t first, std::size_t last) { forward_rows(batch, work, plan, first, last - first); });
}

template <class T>
void tabular_network<T>::backward_rows(tabular_workspace<T>& work, const dropout_plan& plan, std::size_t first,
                                       std::size_t count, T* sums) const {
  const auto rows = [&](matrix_view<T> m) { return m.rows_from(first, count); };
  const auto sum_of = [&](std::size_t block) { return std::span<T>{sums + sum_at_[block], blocks_[block].size()}; };
  // dx from dy, and the sums for the bias. The weight's gradient wants all rows, and comes later.
  const auto linear = [&](std::size_t layer, matrix_view<T> dy, matrix_view<T> dx) {
    add_column_sums<T>(rows(dy), sum_of(weight_of(layer) + 1));
    panel_product<T>(op::plain, rows(dy), work.weights[layer], {}, rows(dx));
  };
  const auto norm = [&](const auto& s, std::size_t gain, bool adds) {
    layer_norm_backward<T>(rows(work.dnormed), rows(s.h), vector(gain), s.mean.subspan(first, count),
                           s.inverse_deviation.subspan(first, count), rows(s.dh), sum_of(gain), sum_of(gain + 1), adds);
  };
  const auto activated = [&](matrix_view<T> dy, matrix_view<T> x) {
    activation_backward<T>(shape_.nonlinearity, rows(dy), rows(x), rows(dy));
  };
  std::fill_n(sums, sums_, T(0));
  const auto& top = work.stages.back();
  copy(read(rows(work.logits)), rows(work.dlogits));
  linear(layers() - 1, work.dlogits, work.dnormed);
  activated(work.dnormed, top.normed);
  norm(top, head_ + in_head::gain, false);
  for (std::size_t b = residual_.size(); b-- > 0;) {
    const auto &s = work.stages[b], &next = work.stages[b + 1];
    if (plan.rate > 0) {
      copy(read(rows(next.dh)), rows(s.dbranch));
      dropout(rows(s.dbranch), plan.rate, site_of(plan, 2 * b + 1), first);
    }
    linear(2 * b + 2, plan.rate > 0 ? s.dbranch : next.dh, s.dlinear);
    dropout(rows(s.dlinear), plan.rate, site_of(plan, 2 * b), first);
    activated(s.dlinear, s.linear);
    linear(2 * b + 1, s.dlinear, work.dnormed);
    copy(read(rows(next.dh)), rows(s.dh));
    norm(s, residual_[b] + in_residual::gain, true);
  }
  linear(0, work.stages[0].dh, work.dz);
  const std::size_t numbers = numeric_.size() * shape_.numeric_width;
  activated(work.dz.columns_from(0, numbers), work.embedded.columns_from(0, numbers));
}

template <class T>
void tabular_network<T>::weight_gradient(const tabular_workspace<T>& work, const dropout_plan& plan, std::size_t layer,
                                         std::size_t first, std::size_t count, matrix_view<T> dw, gradient_write write) const {
  matrix_view<T> x = work.z, dy = work.stages[0].dh; // layer 0
  if (layer == layers() - 1) {
    x = work.stages.back().activated, dy = work.dlogits;
  } else if (layer > 0) {
    const auto &s = work.stages[(layer - 1) / 2], &next = work.stages[(layer - 1) / 2 + 1];
    x = layer % 2 == 1 ? s.normed : s.activated;
    dy = layer % 2 == 1 ? s.dlinear : plan.rate > 0 ? s.dbranch : next.dh;
  }
  if (write == gradient_write::over)
    panel_product<T>(op::transposed, x.columns_from(first, count), as_panels<T>(dy), {}, dw.rows_from(first, count));
  else
    panel_product_add<T>(op::transposed, x.columns_from(first, count), as_panels<T>(dy), dw.rows_from(first, count));
}

template <class T>
void tabular_network<T>::number_gradient(const tabular_batch<T>& batch, tabular_workspace<T>& work, std::size_t number,
                                         std::span<T> gradient) const {
  const std::size_t width = shape_.numeric_width, block = numeric_[number];
  piecewise_linear_backward<T>(batch.numbers.data + number, batch.numbers.stride, edges_[number],
                               read(work.dz.columns_from(number * width, width)),
                               {matrix(gradient, block + in_number::slope), vector(gradient, block + in_number::bias),
                                vector(gradient, block + in_number::absent)},
                               work.embedding_work[number]);
}

template <class T>
void tabular_network<T>::category_gradient(tabular_workspace<T>& work, std::size_t column, std::span<T> gradient) const {
  std::size_t at = numeric_.size() * shape_.numeric_width;
  for (std::size_t k = 0; k < column; ++k)
    at += blocks_[category_[k]].columns;
  const auto table = matrix(gradient, category_[column]);
  embedding_backward<T>(std::span{work.index}.subspan(column * work.z.rows, work.z.rows), read(work.dz.columns_from(at, table.columns)), table);
}

template <class T>
void tabular_network<T>::gather_sums(const tabular_workspace<T>& work, std::span<T> gradient, gradient_write write) const {
  for (std::size_t block = input_; block < blocks_.size(); ++block) {
    if (blocks_[block].decays)
      continue;
    const auto to = vector(gradient, block);
    if (write == gradient_write::over)
      std::ranges::fill(to, T(0));
    add_column_sums<T>(work.sums.columns_from(sum_at_[block], to.size()), to);
  }
}

template <class T>
void tabular_network<T>::backward(const tabular_batch<T>& batch, tabular_workspace<T>& work, const dropout_plan& plan,
                                  std::span<T> gradient, gradient_write write) const {
  FLYWHEEL_ASSERT(gradient.size() == parameters_.size() && work.logits.rows == batch.rows(), "backward after its forward");
  prepare(op::transposed, work);
  const std::size_t stretch = stretch_of(batch.rows());
  parallel_ranges(batch.rows(), stretch, [&](std::size_t first, std::size_t last) {
    backward_rows(work, plan, first, last - first, work.sums.row(first / stretch));
  });
  // What follows meets all rows. Every part owns its parameters; the longest come first.
  if (write == gradient_write::over)
    std::ranges::fill(gradient.first(blocks_[input_].offset), T(0)); // the embeddings' gradients are always added up
  const std::size_t numbers_from = weight_parts_.size(), categories_from = numbers_from + numeric_.size(),
                    sums_from = categories_from + category_.size();
  parallel_for(sums_from + 1, [&](std::size_t i) {
    if (i < numbers_from) {
      const auto& part = weight_parts_[i];
      weight_gradient(work, plan, part.layer, part.first, part.count, matrix(gradient, weight_of(part.layer)), write);
    } else if (i < categories_from) {
      number_gradient(batch, work, i - numbers_from, gradient);
    } else if (i < sums_from) {
      category_gradient(work, i - categories_from, gradient);
    } else {
      gather_sums(work, gradient, write);
    }
  });
}

template class tabular_network<float>;
template class tabular_network<double>;

} // namespace flywheel::gpu
