#pragma once
// The transformer of transformer.hpp, trained on a device through its operation table: on a GPU with CUDA's pages, on the
// host with the CPU pages, which is how it is tested where there is no GPU. Same layout, same initial weights, same loss.
//
// With arithmetic::bf16 the matrix products read bf16 copies of weights and activations and sum in float; master weights,
// moments, gradients, residual stream, norms, attention and loss stay in float (Micikevicius et al., "Mixed precision
// training", 2018; no loss scaling, which bf16's exponent does not need).

#include "gpu/kernels/adamw.hpp"
#include "gpu/models/transformer.hpp"
#include "gpu/tensor.hpp"

#include <memory>

namespace flywheel::gpu {

enum class arithmetic : std::uint8_t { f32, tf32, bf16 }; ///< of the matrix products

struct device_transformer_options {
  arithmetic products = arithmetic::bf16;
  /// Logits are made for as many rows at a time as this many numbers hold (256 MiB of floats), at least one.
  std::size_t logits_at_a_time = std::size_t{1} << 26;
  std::uint64_t product_workspace = std::uint64_t{32} << 20; ///< bytes of scratch for cuBLASLt, which Hopper wants 32 MiB of
};

struct adamw_rule {
  double rate = 0, decay = 0; ///< decay: of the blocks that decay
  double norm_max = 0;        ///< the gradient is scaled down to this norm; 0: never
  adamw_options options = {};
};

/// Not thread-safe. Work is put on one stream: what returns a status may return before it is done, and an error of the
/// device shows at the next call that returns numbers, which waits. After an error the contents are undefined.
class device_transformer {
public:
  enum class state : std::uint8_t { parameters, gradient, moment1, moment2 };
  /// Called while backward is put on the stream, when everything that gradient [offset, offset + count) depends on is on
  /// it: an event recorded now marks the moment from which that stretch may be sent.
  using gradient_ready = std::function<void(std::size_t offset, std::size_t count)>;

  /// Reserves parameters, gradient and moments (16 bytes a parameter, 18 with bf16), and copies `parameters` (as
  /// transformer_layout says; initialise() makes them) to the device; moments are 0. `device` outlives it.
  /// invalid_argument: width, hidden width or qkv width is no multiple of 8, or a head is wider than 128.
  static result<std::unique_ptr<device_transformer>> make(compute_device& device, const transformer_shape& shape,
                                                          std::span<const float> parameters, const device_transformer_options& options = {});

  const transformer_layout& layout() const noexcept { return layout_; }
  compute_device& device() noexcept { return device_; }
  stream& order() noexcept { return order_; }

  /// Adds the batch's loss to the one take_loss() tells. `batch` may go when it returns. out_of_memory: a smaller batch.
  status forward(const token_batch& batch);
  /// The same, and its gradient, written over or added as `how` says.
  status backward(const token_batch& batch, const accumulation& how = {}, const gradient_ready& ready = {});
  /// Waits. Nats per token since the last take: of a step of n batches with how.batches = n, the mean over all.
  result<double> take_loss();
  /// One AdamW step with the gradient; `step` counts from 1.
  status update(std::uint64_t step, const adamw_rule& rule);
  /// Waits. The norm of the gradient before the last update's scaling; 0 if it had no norm_max.
  result<double> gradient_norm();

  /// Waits. All numbers of one kind, in the order of the layout: for checkpoints.
  status read(state which, std::span<float> to);
  status write(state which, std::span<const float> from);
  /// The device's own, for collectives.
  tensor& numbers(state which) noexcept { return of_parameters_[static_cast<std::size_t>(which)]; }

private:
  struct layer {
    tensor input, normed1, qkv, attended, attended_operand, log_sum, middle, normed2, up, activated;
    tensor mean1, inverse1, mean2, inverse2;
  };
  /// A matrix that a product reads: float, or bf16.
  struct operand {
    const void* data = nullptr;
    std::uint64_t stride = 0;
    bool transposed = false;
  };

  device_transformer(compute_device& device, stream order, const transformer_shape& shape, const device_transformer_options& options)
      : device_(device), order_(std::move(order)), layout_(shape), options_(options) {}
  status reserve_parameters(std::span<const float> parameters);
  status reserve_rows(std::size_t sequences, std::size_t time);
  status begin(const token_batch& batch);
  void put_forward();
  void put_head(const accumulation* how);
  void put_layer_backward(std::size_t i, const accumulation& how, const gradient_ready& ready);
  void put_embedding_backward();

  bool narrow() const noexcept { return options_.products == arithmetic::bf16; }
  float* parameter(std::size_t block) { return numbers(state::parameters).data<float>() + layout_[block].offset; }
  float* slope(std::size_t block) { return numbers(state::gradient).data<float>() + layout_[block].offset; }
  const float* bias(std::size_t block) { return layout_[block].size() == 0 ? nullptr : parameter(block); }
  operand weight(std::size_t block, bool transposed = false);
  static operand slice(const tensor& of, std::uint64_t first_row, std::uint64_t width, bool transposed = false);
  /// Where something that products will read is written as floats, and the operand it then becomes.
  float* floats_for(tensor& kept);
  operand kept_operand(tensor& kept, std::uint64_t width, bool transposed = false);
  void narrow_into(const float* from, tensor& to, std::uint64_t size);
  operand narrowed(const float* from, std::uint64_t rows, std::uint64_t width, bool transposed = false);
  void product(const char* what, operand a, operand b, std::uint64_t m, std::uint64_t n, std::uint64_t k, float* c, std::uint64_t stride_c,
               float beta, const float* bias = nullptr, const float* before = nullptr);
  void norm_forward(std::size_t gain, const tensor& x, float* y, tensor& mean, tensor& inverse);
  void norm_backward(std::size_t gain, const tensor& dy, const tensor& x, const tensor& mean, const tensor& inverse, tensor& dx, bool add);
  void linear_backward(std::size_t block, const float* dy, tensor& x, float* dx, const accumulation& how, const gradient_ready& ready);
  void complete(std::size_t first_block, std::size_t last_block, const gradient_ready& ready) const;
  attention_call attention_of(layer& l);

  compute_device& device_;
  stream order_;
  transformer_layout layout_;
  device_transformer_options options_;
  tensor of_parameters_[4], narrow_parameters_;
  tensor cosines_, sines_, loss_, norm_, scale_, partial_, workspace_;
  std::size_t sequences_ = 0, time_ = 0, logit_rows_ = 0, logit_stride_ = 0;
  std::vector<layer> layers_;
  tensor token_, next_, position_, output_, normed_, logits_, row_loss_, mean_, inverse_;
  tensor dh_, dwide_, dqkv_, dnarrow_, row_work_, wide_, narrow_;
  bool norm_known_ = false;
};

} // namespace flywheel::gpu
