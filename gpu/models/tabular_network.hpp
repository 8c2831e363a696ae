#pragma once
// A network for table rows: an embedding per column, then a residual MLP (Gorishniy et al., "Revisiting deep learning
// models for tabular data", 2021; numeric embeddings from their 2022 paper).
//
//   z = [activation(piecewise_linear(x_f)) for each number, embedding(c_k) for each category]
//   h = z W_in + b_in;   per block: h += dropout(dropout(activation(norm(h) W_1 + b_1)) W_2 + b_2)
//   logits = activation(norm(h)) W_out + b_out
//
// The parameters are one array, so that optimiser, clipping and checkpoints see one tensor. T is float, or double where
// a test compares gradients with finite differences.
//
// Rows do not meet before the gradients of the weights. So a stretch of rows goes through the whole network, forward or
// backward, on one thread and while it is in that core's cache: two shared loops forward and three backward, not three an
// operation. The stretches depend on the number of rows alone: the same bits on any number of threads.

#include "gpu/host_array.hpp"
#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/dropout.hpp"
#include "gpu/kernels/linear.hpp"
#include "gpu/kernels/panel_product.hpp"
#include "gpu/matrix_view.hpp"
#include "gpu/models/parameter_block.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace flywheel::gpu {

struct tabular_network_shape {
  std::vector<std::vector<double>> edges;  ///< per number: at least 2 increasing edges
  std::vector<std::uint32_t> categories;   ///< per category column: rows of its table, row 0 for missing and unknown
  std::uint32_t numeric_width = 8;         ///< of a number's embedding
  std::uint32_t category_width_max = 8;    ///< of a category's embedding; fewer where there are few categories
  std::uint32_t hidden = 128, blocks = 2, outputs = 2;
  activation nonlinearity = activation::relu;

  std::uint32_t category_width(std::size_t k) const;
  std::size_t input_width() const;
  /// How long the parameter array is, without making it.
  std::uint64_t parameter_count() const;
};

/// Rows to compute on: `numbers` is rows x numbers (NaN: missing), `categories` rows x categories, row-major.
template <class T> struct tabular_batch {
  matrix_view<const T> numbers;
  matrix_view<const std::uint32_t> categories;
  std::size_t rows() const noexcept { return numbers.data ? numbers.rows : categories.rows; }
};

/// Dropout while training; rate 0 for answering.
struct dropout_plan {
  double rate = 0;
  philox_key key{0};
  std::uint64_t step = 0;
};

/// What forward leaves for backward, and the room both need. Reusable; grows to the largest batch seen, then allocates
/// no more. One per thread.
template <class T> class tabular_workspace {
public:
  matrix_view<T> logits;                   ///< forward's answer; its gradient must be put here before backward

private:
  template <class> friend class tabular_network;
  struct stage {
    matrix_view<T> h, normed, linear, activated;
    matrix_view<T> dh, dbranch, dlinear;   ///< dbranch: only with dropout, otherwise it is the next stage's dh
    std::span<T> mean, inverse_deviation;
  };
  matrix_view<T> embedded, z, dz, dnormed, dlogits;
  std::vector<stage> stages;               ///< one per block, and one for the head
  std::vector<panels<T>> weights;          ///< of the linear layers; transposed once backward began
  std::vector<T*> packed;                  ///< where those are
  matrix_view<T> sums;                     ///< over the rows of each stretch: the gradients of gains, shifts and biases
  host_array<T> storage;
  std::vector<std::vector<T>> embedding_work; ///< one per number: they are embedded side by side
  std::vector<std::uint32_t> index;        ///< of each category column in turn, all rows
};

template <class T> class tabular_network {
public:
  /// Initial weights from `seed`: linear layers uniform in +-1/sqrt(inputs), gains 1, shifts 0.
  tabular_network(tabular_network_shape shape, std::uint64_t seed);

  const tabular_network_shape& shape() const noexcept { return shape_; }
  const std::vector<parameter_block>& blocks() const noexcept { return blocks_; }
  std::span<T> parameters() noexcept { return parameters_; }
  std::span<const T> parameters() const noexcept { return parameters_; }

  /// Fills `work.logits` (rows x outputs). Thread-safe with a workspace per thread.
  void forward(const tabular_batch<T>& batch, tabular_workspace<T>& work, const dropout_plan& plan) const;
  /// From d loss / d logits in `work.logits`, adds d loss / d parameters to `gradient`, or overwrites it, which saves
  /// clearing and reading it. Same batch and plan as forward.
  void backward(const tabular_batch<T>& batch, tabular_workspace<T>& work, const dropout_plan& plan,
                std::span<T> gradient, gradient_write write = gradient_write::add) const;

private:
  std::size_t add_block(std::string name, std::size_t rows, std::size_t columns, bool decays);
  void lay_out();
  void initialise(std::uint64_t seed);
  std::size_t layers() const noexcept { return 2 * residual_.size() + 2; }
  std::size_t weight_of(std::size_t layer) const;
  void reserve(tabular_workspace<T>& work, std::size_t rows) const;
  /// What the stretches of rows share: packed weights; before forward (plain), the embeddings' answers at their edges too.
  void prepare(op o, tabular_workspace<T>& work) const;
  void embed_rows(const tabular_batch<T>& batch, tabular_workspace<T>& work, std::size_t first, std::size_t count) const;
  void forward_rows(const tabular_batch<T>& batch, tabular_workspace<T>& work, const dropout_plan& plan, std::size_t first,
                    std::size_t count) const;
  void backward_rows(tabular_workspace<T>& work, const dropout_plan& plan, std::size_t first, std::size_t count, T* sums) const;
  void weight_gradient(const tabular_workspace<T>& work, const dropout_plan& plan, std::size_t layer, std::size_t first,
                       std::size_t count, matrix_view<T> dw, gradient_write write) const;
  void number_gradient(const tabular_batch<T>& batch, tabular_workspace<T>& work, std::size_t number, std::span<T> gradient) const;
  void category_gradient(tabular_workspace<T>& work, std::size_t column, std::span<T> gradient) const;
  void gather_sums(const tabular_workspace<T>& work, std::span<T> gradient, gradient_write write) const;

  matrix_view<const T> matrix(std::size_t block) const;
  std::span<const T> vector(std::size_t block) const;
  matrix_view<T> matrix(std::span<T> of, std::size_t block) const;
  std::span<T> vector(std::span<T> of, std::size_t block) const;

  tabular_network_shape shape_;
  std::vector<parameter_block> blocks_;
  std::vector<T> parameters_;
  std::vector<std::vector<T>> edges_;
  // Indices into blocks_ of each layer's first block; the layer's others follow it.
  std::vector<std::size_t> numeric_, category_, residual_;
  std::size_t input_ = 0, head_ = 0;
  /// From input_ on, by block: where the sums over a stretch's rows hold the gradient of a gain, shift or bias.
  std::vector<std::size_t> sum_at_;
  std::size_t sums_ = 0;
  /// Stretches of a weight's rows whose gradients are made side by side.
  struct weight_part {
    std::size_t layer, first, count;
  };
  std::vector<weight_part> weight_parts_;
};

} // namespace flywheel::gpu
