#include "gpu/kernels/host_operations.hpp"

#include "cluster/base/clock.hpp"
#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/attention.hpp"
#include "gpu/kernels/bf16.hpp"
#include "gpu/kernels/dropout.hpp"
#include "gpu/kernels/embedding.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/linear.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/kernels/piecewise_linear.hpp"
#include "gpu/kernels/rms_norm.hpp"
#include "gpu/kernels/rotary.hpp"
#include "gpu/kernels/sgd.hpp"
#include "gpu/kernels/swiglu.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <unistd.h>
#include <vector>

namespace flywheel::gpu {

namespace {

using u64 = std::uint64_t;
using rows_view = matrix_view<float>;
using rows_read = matrix_view<const float>;

// Of cudaError_t.
constexpr int invalid_value = 1, out_of_memory = 2, invalid_device = 101;
constexpr std::size_t memory_alignment = 256, operand_alignment = 16;

u64 bytes_of(int pages_name) {
  const long pages = ::sysconf(pages_name), size = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? static_cast<u64>(pages) * static_cast<u64>(size) : 0;
}

int device_count(int* to) {
  *to = 1;
  return 0;
}
int describe_device(int device, device_description* to) {
  if (device != 0)
    return invalid_device;
  *to = {};
  std::snprintf(to->name, sizeof to->name, "host");
  to->memory_total = bytes_of(_SC_PHYS_PAGES), to->memory_free = bytes_of(_SC_AVPHYS_PAGES);
  to->processors = static_cast<std::int32_t>(std::thread::hardware_concurrency());
  return 0;
}
int use_device(int device) { return device == 0 ? 0 : invalid_device; }
const char* explain(int error) {
  switch (error) {
  case 0: return "no error";
  case invalid_value: return "invalid argument";
  case out_of_memory: return "out of memory";
  case invalid_device: return "invalid device ordinal";
  default: return "unknown error";
  }
}

int allocate(void** to, u64 bytes) {
  *to = bytes > SIZE_MAX - memory_alignment ? nullptr
                                            : std::aligned_alloc(memory_alignment, (bytes + memory_alignment - 1) / memory_alignment * memory_alignment);
  if (*to == nullptr)
    return bytes == 0 ? 0 : out_of_memory;
  std::memset(*to, 0xFF, bytes); // a NaN in every type
  return 0;
}
int release(void* memory) {
  std::free(memory);
  return 0;
}
int copy(void* to, const void* from, u64 bytes, void*) {
  if (bytes != 0)
    std::memcpy(to, from, bytes);
  return 0;
}
int fill_zero(void* to, u64 bytes, void*) {
  if (bytes != 0)
    std::memset(to, 0, bytes);
  return 0;
}
int make_stream(void** to) {
  *to = new char;
  return 0;
}
int drop_stream(void* stream) {
  delete static_cast<char*>(stream);
  return 0;
}
int wait_stream(void*) { return 0; }
int make_event(void** to) {
  *to = new mono_time;
  return 0;
}
int drop_event(void* event) {
  delete static_cast<mono_time*>(event);
  return 0;
}
int record_event(void* event, void*) {
  *static_cast<mono_time*>(event) = system_clock().mono();
  return 0;
}
int stream_waits(void*, void*) { return 0; }
int event_milliseconds(float* to, void* from, void* until) {
  *to = static_cast<float>(static_cast<double>((*static_cast<mono_time*>(until) - *static_cast<mono_time*>(from)).count()) * 1e-6);
  return 0;
}

bool aligned(const void* p) { return std::bit_cast<std::uintptr_t>(p) % operand_alignment == 0; }

/// a or b of a product as floats: itself, or widened into `room`.
rows_read operand(gemm_type type, const void* from, u64 rows, u64 columns, u64 stride, std::vector<float>& room) {
  if (type != gemm_type::bf16)
    return {static_cast<const float*>(from), rows, columns, stride};
  room.resize(rows * columns);
  const auto* narrow = static_cast<const bf16*>(from);
  for (u64 i = 0; i < rows; ++i)
    to_float({narrow + i * stride, columns}, {room.data() + i * columns, columns});
  return {room.data(), rows, columns, columns};
}

int host_gemm(const gemm_call* call, void*) {
  const gemm_call& c = *call;
  if (c.m == 0 || c.n == 0)
    return 0;
  const u64 a_rows = c.transpose_a != 0 ? c.k : c.m, a_columns = c.transpose_a != 0 ? c.m : c.k;
  const u64 b_rows = c.transpose_b != 0 ? c.n : c.k, b_columns = c.transpose_b != 0 ? c.k : c.n;
  const u64 in_element = c.type == gemm_type::bf16 ? sizeof(bf16) : sizeof(float);
  const bool accepted = aligned(c.a) && aligned(c.b) && aligned(c.c) && aligned(c.before) && aligned(c.bias) &&
                        c.stride_a * in_element % operand_alignment == 0 && c.stride_b * in_element % operand_alignment == 0 &&
                        c.stride_c * sizeof(float) % operand_alignment == 0 && c.stride_a >= a_columns && c.stride_b >= b_columns && c.stride_c >= c.n;
  if (!accepted || (c.epilogue != gemm_epilogue::none && c.bias == nullptr))
    return invalid_value;
  std::vector<float> wide_a, wide_b;
  const rows_read a = operand(c.type, c.a, a_rows, a_columns, c.stride_a, wide_a), b = operand(c.type, c.b, b_rows, b_columns, c.stride_b, wide_b);
  const rows_view to{c.c, c.m, c.n, c.stride_c};
  if (c.before != nullptr && c.before != c.c && c.beta != 0)
    for (u64 i = 0; i < c.m; ++i)
      std::copy_n(c.before + i * c.stride_c, c.n, to.row(i));
  gemm<float>(c.transpose_a != 0 ? op::transposed : op::plain, c.transpose_b != 0 ? op::transposed : op::plain, c.alpha, a, b, c.beta, to);
  if (c.epilogue != gemm_epilogue::none)
    for (u64 i = 0; i < c.m; ++i)
      std::transform(to.row(i), to.row(i) + c.n, c.bias, to.row(i), std::plus<float>{});
  if (c.epilogue == gemm_epilogue::bias_gelu)
    activation_forward<float>(activation::gelu, to, to);
  return 0;
}

int rms_norm_forward(const float* x, const float* gain, float* y, float* inverse_root, u64 rows, u64 width, void*) {
  gpu::rms_norm_forward<float>({x, rows, width}, {gain, width}, {y, rows, width}, {inverse_root, rows});
  return 0;
}
int rms_norm_backward(const float* dy, const float* x, const float* gain, const float* inverse_root, float* dx, float* dgain, u64 rows,
                      u64 width, int add, void*) {
  gpu::rms_norm_backward<float>({dy, rows, width}, {x, rows, width}, {gain, width}, {inverse_root, rows}, {dx, rows, width}, {dgain, width}, add != 0);
  return 0;
}
int layer_norm_forward(const float* x, const float* gain, const float* shift, float* y, float* mean, float* inverse_deviation, u64 rows,
                       u64 width, void*) {
  gpu::layer_norm_forward<float>({x, rows, width}, {gain, width}, {shift, width}, {y, rows, width}, {mean, rows}, {inverse_deviation, rows});
  return 0;
}
int layer_norm_backward(const float* dy, const float* x, const float* gain, const float* mean, const float* inverse_deviation, float* dx,
                        float* dgain, float* dshift, u64 rows, u64 width, int add, void*) {
  gpu::layer_norm_backward<float>({dy, rows, width}, {x, rows, width}, {gain, width}, {mean, rows}, {inverse_deviation, rows},
                                  {dx, rows, width}, {dgain, width}, {dshift, width}, add != 0);
  return 0;
}
int gelu_forward(const float* x, float* y, u64 size, void*) {
  activation_forward<float>(activation::gelu, {x, 1, size}, {y, 1, size});
  return 0;
}
int gelu_backward(const float* dy, const float* x, float* dx, u64 size, void*) {
  activation_backward<float>(activation::gelu, {dy, 1, size}, {x, 1, size}, {dx, 1, size});
  return 0;
}
int relu_forward(const float* x, float* y, u64 size, void*) {
  activation_forward<float>(activation::relu, {x, 1, size}, {y, 1, size});
  return 0;
}
int relu_backward(const float* dy, const float* x, float* dx, u64 size, void*) {
  activation_backward<float>(activation::relu, {dy, 1, size}, {x, 1, size}, {dx, 1, size});
  return 0;
}

/// One number of the call: its edges, and its part of an array laid out as the parameters.
struct piecewise_number {
  std::span<const float> edges;
  u64 width, segments, at;
  piecewise_number(const piecewise_linear_call& c, u64 f)
      : width(c.width), segments(c.segments_before[f + 1] - c.segments_before[f]), at((c.segments_before[f] + 2 * f) * c.width) {
    edges = {c.edges + c.segments_before[f] + f, segments + 1};
  }
  template <class T> piecewise_parameters<T> of(T* all) const {
    T* mine = all + at;
    return {{mine, segments, width}, {mine + segments * width, width}, {mine + (segments + 1) * width, width}};
  }
};
int piecewise_linear_forward(const piecewise_linear_call* call, void*) {
  const piecewise_linear_call& c = *call;
  parallel_for(c.numbers, [&](std::size_t f) {
    std::vector<float> work;
    const piecewise_number number{c, f};
    gpu::piecewise_linear_forward<float>(c.x + f, c.stride_x, number.edges, number.of(c.parameters), {c.y + f * c.width, c.rows, c.width, c.stride_y}, work);
  });
  return 0;
}
int piecewise_linear_backward(const piecewise_linear_call* call, void*) {
  const piecewise_linear_call& c = *call;
  parallel_for(c.numbers, [&](std::size_t f) {
    std::vector<float> work;
    const piecewise_number number{c, f};
    gpu::piecewise_linear_backward<float>(c.x + f, c.stride_x, number.edges, {c.dy + f * c.width, c.rows, c.width, c.stride_y}, number.of(c.gradient), work);
  });
  return 0;
}
int swiglu_forward(const float* x, float* y, u64 rows, u64 width, void*) {
  gpu::swiglu_forward<float>({x, rows, 2 * width}, {y, rows, width});
  return 0;
}
int swiglu_backward(const float* dy, float* x, u64 rows, u64 width, void*) {
  gpu::swiglu_backward<float>({dy, rows, width}, {x, rows, 2 * width});
  return 0;
}

int turn_pairs(float* x, u64 stride, u64 rows, u64 heads, u64 head_width, u64 time, const float* cosines, const float* sines, float sign, void*) {
  rotary<float>({x, rows, heads * head_width, stride}, time, {time, head_width, cosines, sines}, sign > 0 ? turn::forward : turn::back);
  return 0;
}

struct attention_views {
  attention_shape shape;
  rows_read q, k, v;
  rows_view out, log_sum;
  explicit attention_views(const attention_call& c)
      : shape{c.sequences, c.time, c.heads, c.kv_heads, c.head_width}, q{c.q, shape.rows(), c.heads * c.head_width, c.stride_q},
        k{c.k, shape.rows(), c.kv_heads * c.head_width, c.stride_k}, v{c.v, shape.rows(), c.kv_heads * c.head_width, c.stride_v},
        out{c.out, shape.rows(), c.heads * c.head_width, c.stride_out}, log_sum{c.log_sum, c.heads, shape.rows()} {}
};
constexpr u64 head_width_max = 128; // of the CUDA page
int attention_forward(const attention_call* call, void*) {
  if (call->head_width > head_width_max)
    return invalid_value;
  const attention_views w{*call};
  gpu::attention_forward<float>(w.shape, w.q, w.k, w.v, w.out, w.log_sum);
  return 0;
}
int attention_backward(const attention_call* call, void*) {
  const attention_call& c = *call;
  if (c.head_width > head_width_max)
    return invalid_value;
  const attention_views w{c};
  const std::size_t n = w.shape.rows();
  gpu::attention_backward<float>(w.shape, {c.dout, n, w.out.columns, c.stride_out}, w.q, w.k, w.v, w.out, w.log_sum,
                                 {c.dq, n, w.q.columns, c.stride_q}, {c.dk, n, w.k.columns, c.stride_k}, {c.dv, n, w.v.columns, c.stride_v},
                                 {c.row_work, c.heads, n});
  return 0;
}

int softmax_cross_entropy(float* logits, u64 stride, const std::uint32_t* label, float* row_loss, float* loss, u64 rows, u64 width,
                          double averaged_over, void*) {
  static_cast<void>(row_loss);
  if (rows == 0 || width == 0)
    return invalid_value;
  *loss += static_cast<float>(gpu::softmax_cross_entropy<float>({logits, rows, width, stride}, {label, rows}, 0, averaged_over));
  return 0;
}
int embedding_forward(const std::uint32_t* index, const float* table, float* y, u64 rows, u64 width, int add, void*) {
  parallel_ranges(rows, 16, [&](std::size_t first, std::size_t last) {
    for (u64 i = first; i < last; ++i) {
      const float* from = table + index[i] * width;
      float* to = y + i * width;
      if (add != 0)
        std::transform(to, to + width, from, to, std::plus<float>{});
      else
        std::copy_n(from, width, to);
    }
  });
  return 0;
}
int embedding_backward(const std::uint32_t* index, const float* dy, float* dtable, u64 rows, u64 width, void*) {
  std::uint32_t top = 0; // the page wants to know the table's length, and only checks with it
  for (u64 i = 0; i < rows; ++i)
    top = std::max(top, index[i]);
  gpu::embedding_backward<float>({index, rows}, {dy, rows, width}, {dtable, std::size_t{top} + 1, width});
  return 0;
}
int column_sums(const float* x, float* to, u64 rows, u64 width, void*) {
  add_column_sums<float>({x, rows, width}, {to, width});
  return 0;
}
int dropout(float* x, u64 size, double rate, u64 seed, u64 step, std::uint32_t site, void*) {
  gpu::dropout<float>({x, 1, size}, rate, {philox_key{seed}, step, site});
  return 0;
}

int adamw(const adamw_call* call, void*) {
  const adamw_call& c = *call;
  std::vector<float> scaled;
  const float* gradient = c.gradient;
  if (c.gradient_scale != nullptr && *c.gradient_scale != 1) {
    scaled.assign(gradient, gradient + c.size);
    for (float& g : scaled)
      g *= *c.gradient_scale;
    gradient = scaled.data();
  }
  gpu::adamw<float>({c.weights, c.size}, {gradient, c.size}, {c.moment1, c.size}, {c.moment2, c.size}, c.rate, c.decay, c.step,
                    {c.beta1, c.beta2, c.epsilon});
  if (c.narrow_weights != nullptr)
    gpu::to_bf16({c.weights, c.size}, {reinterpret_cast<bf16*>(c.narrow_weights), c.size});
  return 0;
}
int sgd(float* weights, const float* gradient, float* velocity, u64 size, double rate, double decay, double momentum, int nesterov, void*) {
  gpu::sgd<float>({weights, size}, {gradient, size}, {velocity, size}, rate, decay, {momentum, nesterov != 0});
  return 0;
}
int clip_scale(const float* gradient, u64 size, double norm_max, double* partial, float* norm, float* scale, void*) {
  static_cast<void>(partial);
  const double length = gradient_norm<float>({gradient, size});
  *norm = static_cast<float>(length);
  *scale = length > norm_max ? static_cast<float>(norm_max / length) : 1.0f;
  return 0;
}
int to_bf16(const float* from, std::uint16_t* to, u64 size, void*) {
  gpu::to_bf16({from, size}, {reinterpret_cast<bf16*>(to), size});
  return 0;
}
int to_float(const std::uint16_t* from, float* to, u64 size, void*) {
  gpu::to_float({reinterpret_cast<const bf16*>(from), size}, {to, size});
  return 0;
}

} // namespace

const operation_table& host_operations() {
  static const operation_table table{
      .version = operation_table_version,
      .bytes = sizeof(operation_table),
      .device_count = device_count,
      .describe_device = describe_device,
      .use_device = use_device,
      .explain = explain,
      .allocate = allocate,
      .release = release,
      .copy_to_device = copy,
      .copy_to_host = copy,
      .copy_on_device = copy,
      .fill_zero = fill_zero,
      .make_stream = make_stream,
      .drop_stream = drop_stream,
      .wait_stream = wait_stream,
      .make_event = make_event,
      .drop_event = drop_event,
      .record_event = record_event,
      .stream_waits = stream_waits,
      .event_milliseconds = event_milliseconds,
      .gemm = host_gemm,
      .rms_norm_forward = rms_norm_forward,
      .rms_norm_backward = rms_norm_backward,
      .layer_norm_forward = layer_norm_forward,
      .layer_norm_backward = layer_norm_backward,
      .gelu_forward = gelu_forward,
      .gelu_backward = gelu_backward,
      .relu_forward = relu_forward,
      .relu_backward = relu_backward,
      .piecewise_linear_forward = piecewise_linear_forward,
      .piecewise_linear_backward = piecewise_linear_backward,
      .swiglu_forward = swiglu_forward,
      .swiglu_backward = swiglu_backward,
      .rotary = turn_pairs,
      .attention_forward = attention_forward,
      .attention_backward = attention_backward,
      .softmax_cross_entropy = softmax_cross_entropy,
      .embedding_forward = embedding_forward,
      .embedding_backward = embedding_backward,
      .column_sums = column_sums,
      .dropout = dropout,
      .adamw = adamw,
      .sgd = sgd,
      .clip_scale = clip_scale,
      .to_bf16 = to_bf16,
      .to_float = to_float,
  };
  return table;
}

} // namespace flywheel::gpu
