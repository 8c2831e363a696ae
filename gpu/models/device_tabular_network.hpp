#pragma once
// The tabular network of tabular_network.hpp, trained on a device through its operation table: on a GPU with CUDA's pages, on
// the host with the CPU pages, which is how it is tested where there is no GPU. Same parameters, same masks of dropout, same
// gradients to rounding; classification only (the table has no squared error).
//
// Products want rows of whole 16 bytes, so on the device a category's vectors, the rows of the input's weight that meet them,
// and the outputs are rounded up to 4; what is added is 0 and has a gradient of 0. read() and write() speak of the network's
// own layout.

#include "gpu/models/device_transformer.hpp"
#include "gpu/models/tabular_network.hpp"

namespace flywheel::gpu {

/// Not thread-safe. Work is put on one stream, as device_transformer says.
class device_tabular_network {
public:
  using state = device_transformer::state;

  /// Reserves parameters, gradient and moments, and copies the network's parameters. `device` outlives it.
  /// invalid_argument: the hidden width, or a number's width, is no multiple of 4.
  static result<std::unique_ptr<device_tabular_network>> make(compute_device& device, const tabular_network<float>& network);

  std::size_t size() const noexcept { return parameter_count_; } ///< parameters, as the network counts them

  /// Logits, rows x outputs, into `to`. Waits.
  status forward(const tabular_batch<float>& batch, const dropout_plan& plan, std::span<float> to);
  /// Adds the batch's mean cross-entropy to what take_loss() tells, and writes its gradient over the one there. `batch` may go
  /// when it returns.
  status backward(const tabular_batch<float>& batch, std::span<const std::uint32_t> label, const dropout_plan& plan);
  /// Waits. The loss since the last take.
  result<double> take_loss();
  /// One AdamW step with the gradient; `step` counts from 1.
  status update(std::uint64_t step, const adamw_rule& rule);

  /// Waits. All numbers of one kind, in the order of the network's parameters: for checkpoints.
  status read(state which, std::span<float> to);
  status write(state which, std::span<const float> from);

private:
  /// A block of the network as it lies on the device.
  struct block {
    std::size_t offset = 0, rows = 0, columns = 0;
    bool decays = false;
  };
  struct stage {
    tensor h, normed, linear, activated, mean, inverse;
  };

  device_tabular_network(compute_device& device, stream order, const tabular_network<float>& network);
  status reserve_parameters(std::span<const float> parameters);
  status reserve_rows(std::size_t rows);
  status begin(const tabular_batch<float>& batch);
  void put_forward(const dropout_plan& plan);
  void put_backward(const dropout_plan& plan);
  void put_linear_backward(std::size_t weight, const tensor& x, tensor& dy, tensor& dx);
  void put_input_backward(tensor& dh);

  std::size_t numbers() const noexcept { return shape_.edges.size(); }
  std::size_t numbers_width() const noexcept { return numbers() * shape_.numeric_width; }
  std::size_t table_of(std::size_t category) const noexcept { return 3 * numbers() + category; }
  std::size_t input() const noexcept { return table_of(shape_.categories.size()); }
  std::size_t residual(std::size_t b) const noexcept { return input() + 2 + 6 * b; } ///< gain, shift, weight, bias, weight, bias
  std::size_t head() const noexcept { return residual(shape_.blocks); }              ///< gain, shift, weight, bias
  float* at(state which, std::size_t b) { return of_parameters_[static_cast<std::size_t>(which)].data<float>() + blocks_[b].offset; }
  /// f(place in the network's parameters, place on the device, count) for every stretch that is one in both.
  template <class F> void each_stretch(const F& f) const;
  void product(const char* what, const float* a, std::uint64_t stride_a, bool transpose_a, const float* b, std::uint64_t stride_b,
               bool transpose_b, std::uint64_t m, std::uint64_t n, std::uint64_t k, float* c, float beta, const float* bias = nullptr,
               const float* before = nullptr);
  void activate(const tensor& x, tensor& y);
  void activate_backward(tensor& dy, const tensor& x);
  void drop(tensor& x, const dropout_plan& plan, std::size_t site);
  void norm(std::size_t gain, stage& s);
  void norm_backward(std::size_t gain, const stage& s, tensor& dh, bool add);
  piecewise_linear_call numbers_call();

  compute_device& device_;
  stream order_;
  tabular_network_shape shape_;
  std::vector<parameter_block> host_blocks_;
  std::vector<block> blocks_;
  std::vector<std::size_t> input_row_;         ///< of each category, the first of its rows in the input's weight
  std::size_t parameter_count_ = 0, device_count_ = 0, outputs_ = 0;
  tensor of_parameters_[4], edges_, segments_before_, loss_, norm_, scale_, partial_;
  std::size_t segments_ = 0, rows_ = 0;
  std::vector<stage> stages_;
  tensor x_, embedded_, active_, segment_, part_, starts_, category_, label_, row_, logits_, row_loss_;
  std::vector<tensor> vectors_;                ///< of each category: rows x its width on the device
  tensor dh_, dbranch_, dlinear_, dnormed_, dactive_, dvectors_;
};

} // namespace flywheel::gpu
