#pragma once
// What a device can do: one table of functions, filled twice. The host fills it with the CPU pages
// (gpu/kernels/host_operations.hpp); the CUDA module, libflywheel_cuda.so, with the CUDA pages. Networks that train on a GPU
// (gpu/models/device_transformer.hpp) know this table alone, so that the same code runs on both. The program is not linked
// to CUDA: it loads the module where there is a GPU (gpu/module_loader.hpp).
//
// All pointers named without "host" are memory of the device in use. Every matrix is row-major and dense unless it has a
// stride. A stream is what make_stream returned; null is the default stream. Functions return 0 or an error number: a
// cudaError_t as it is (the host borrows invalid value and out of memory), a cublasStatus_t plus cublas_offset;
// gpu/device_errors.hpp says what to do about one. Launches are asynchronous on a GPU, and done on return on the host.
// The operations compute what the CPU page of the same name says, in float, to rounding.

#include <cstddef>
#include <cstdint>

namespace flywheel::gpu {

/// Raised whenever a member changes place or meaning; a module of another version is refused.
inline constexpr std::uint32_t operation_table_version = 4;
inline constexpr int cublas_offset = 10'000;

struct device_description {
  char name[256];
  std::uint64_t memory_total, memory_free; ///< bytes
  std::int32_t major, minor, processors;
  char pci[32];                            ///< where it hangs: "0000:65:00.0"; empty: nowhere
};

/// Of a and b; c is float. tf32: multiplied with 10 bits of mantissa. All sums are in float.
enum class gemm_type : std::int32_t { f32, f32_by_tf32, bf16 };
enum class gemm_epilogue : std::int32_t { none, bias, bias_gelu };       ///< bias: one element a column of c
/// c = alpha a b + beta before, then the epilogue. Pointers and strides are multiples of 16 bytes.
struct gemm_call {
  gemm_type type;
  gemm_epilogue epilogue;
  std::int32_t transpose_a, transpose_b;
  std::uint64_t m, n, k, stride_a, stride_b, stride_c; ///< c is m x n
  float alpha, beta;
  const void *a, *b;
  const float *bias, *before;       ///< before: shaped and strided like c; null is c itself
  float* c;
  void* workspace;
  std::uint64_t workspace_bytes;
};

struct attention_call {
  std::uint64_t sequences, time, heads, kv_heads, head_width; ///< head_width at most 128
  std::uint64_t stride_q, stride_k, stride_v, stride_out;     ///< from one row to the next; gradients are strided alike
  const float *q, *k, *v;
  float *out, *log_sum;                                       ///< log_sum: heads x rows
  const float* dout;                                          ///< from here on for backward only
  float *dq, *dk, *dv, *row_work;
};

struct adamw_call {
  std::uint64_t size, step;
  double rate, decay, beta1, beta2, epsilon;
  float* weights;
  const float* gradient;
  float *moment1, *moment2;
  std::uint16_t* narrow_weights;    ///< bf16 copy of the updated weights, or null
  const float* gradient_scale;      ///< one number to multiply the gradient with (from clip_scale), or null
};

/// Every number of a row as a learnt vector (gpu/kernels/piecewise_linear.hpp). The numbers' parameters follow each other, each
/// its slopes (segments x width), bias and "absent"; so do their edges, one more than segments.
struct piecewise_linear_call {
  std::uint64_t rows, numbers, width, segments; ///< width: of a vector; segments: of all numbers together
  std::uint64_t stride_x, stride_y;             ///< dy is strided as y
  const std::uint32_t* segments_before;         ///< numbers + 1: of the numbers before each, and `segments`
  const float *x, *edges, *parameters;          ///< x: NaN is missing
  float* y;                                     ///< rows x (numbers x width)
  std::uint32_t* segment;                       ///< rows x numbers; this and the next forward leaves for backward
  float* part;
  float* starts;                                ///< segments x width of scratch
  const float* dy;                              ///< from here on for backward only
  float* gradient;                              ///< laid out as the parameters; added to
};

struct operation_table {
  std::uint32_t version;
  std::uint32_t bytes;              ///< sizeof this struct

  int (*device_count)(int* host_count);
  int (*describe_device)(int device, device_description* host_to);
  int (*use_device)(int device);
  const char* (*explain)(int error);

  int (*allocate)(void** host_to, std::uint64_t bytes);
  int (*release)(void* memory);
  int (*copy_to_device)(void* to, const void* host_from, std::uint64_t bytes, void* stream);
  int (*copy_to_host)(void* host_to, const void* from, std::uint64_t bytes, void* stream);
  int (*copy_on_device)(void* to, const void* from, std::uint64_t bytes, void* stream);
  int (*fill_zero)(void* to, std::uint64_t bytes, void* stream);
  int (*make_stream)(void** host_to);
  int (*drop_stream)(void* stream);
  int (*wait_stream)(void* stream);
  int (*make_event)(void** host_to);
  int (*drop_event)(void* event);
  int (*record_event)(void* event, void* stream);
  int (*stream_waits)(void* stream, void* event);
  int (*event_milliseconds)(float* host_to, void* from, void* to);

  int (*gemm)(const gemm_call* host_call, void* stream);
  int (*rms_norm_forward)(const float* x, const float* gain, float* y, float* inverse_root, std::uint64_t rows, std::uint64_t width, void* stream);
  int (*rms_norm_backward)(const float* dy, const float* x, const float* gain, const float* inverse_root, float* dx, float* dgain,
                           std::uint64_t rows, std::uint64_t width, int add, void* stream);
  int (*layer_norm_forward)(const float* x, const float* gain, const float* shift, float* y, float* mean, float* inverse_deviation,
                            std::uint64_t rows, std::uint64_t width, void* stream);
  int (*layer_norm_backward)(const float* dy, const float* x, const float* gain, const float* mean, const float* inverse_deviation,
                             float* dx, float* dgain, float* dshift, std::uint64_t rows, std::uint64_t width, int add, void* stream);
  int (*gelu_forward)(const float* x, float* y, std::uint64_t size, void* stream);
  int (*gelu_backward)(const float* dy, const float* x, float* dx, std::uint64_t size, void* stream);
  int (*relu_forward)(const float* x, float* y, std::uint64_t size, void* stream);
  int (*relu_backward)(const float* dy, const float* x, float* dx, std::uint64_t size, void* stream);
  int (*piecewise_linear_forward)(const piecewise_linear_call* host_call, void* stream);
  int (*piecewise_linear_backward)(const piecewise_linear_call* host_call, void* stream);
  int (*swiglu_forward)(const float* x, float* y, std::uint64_t rows, std::uint64_t width, void* stream);
  int (*swiglu_backward)(const float* dy, float* x, std::uint64_t rows, std::uint64_t width, void* stream);
  /// cosines and sines: time x head_width / 2. sign: 1 forward, -1 back.
  int (*rotary)(float* x, std::uint64_t stride, std::uint64_t rows, std::uint64_t heads, std::uint64_t head_width, std::uint64_t time,
                const float* cosines, const float* sines, float sign, void* stream);
  int (*attention_forward)(const attention_call* host_call, void* stream);
  int (*attention_backward)(const attention_call* host_call, void* stream);
  /// Overwrites logits with their gradient; loss: one number, added to. row_loss: rows numbers of scratch.
  int (*softmax_cross_entropy)(float* logits, std::uint64_t stride, const std::uint32_t* label, float* row_loss, float* loss,
                               std::uint64_t rows, std::uint64_t width, double averaged_over, void* stream);
  /// y is overwritten, or added to where `add`.
  int (*embedding_forward)(const std::uint32_t* index, const float* table, float* y, std::uint64_t rows, std::uint64_t width, int add,
                           void* stream);
  int (*embedding_backward)(const std::uint32_t* index, const float* dy, float* dtable, std::uint64_t rows, std::uint64_t width, void* stream);
  /// to += sums over the rows of x, per column.
  int (*column_sums)(const float* x, float* to, std::uint64_t rows, std::uint64_t width, void* stream);
  int (*dropout)(float* x, std::uint64_t size, double rate, std::uint64_t seed, std::uint64_t step, std::uint32_t site, void* stream);
  int (*adamw)(const adamw_call* host_call, void* stream);
  /// Over `size` elements.
  int (*sgd)(float* weights, const float* gradient, float* velocity, std::uint64_t size, double rate, double decay, double momentum,
             int nesterov, void* stream);
  /// Writes norm: one number; and scale: norm_max / norm, or 1 where the norm is smaller. partial: 1024 numbers of scratch.
  int (*clip_scale)(const float* gradient, std::uint64_t size, double norm_max, double* partial, float* norm, float* scale, void* stream);
  int (*to_bf16)(const float* from, std::uint16_t* to, std::uint64_t size, void* stream);
  int (*to_float)(const std::uint16_t* from, float* to, std::uint64_t size, void* stream);
};

/// The module's one exported function.
inline constexpr const char* cuda_module_symbol = "flywheel_cuda_operations";
using operation_table_getter = const operation_table* (*)();

} // namespace flywheel::gpu
