// The CUDA module, libflywheel_cuda.so: all kernel pages as one translation unit (CUDA's headers cost more than the
// kernels), memory, streams and events, and the table that the program asks for (gpu/operations.hpp).

#include "gpu/operations.hpp"

#include "gpu/kernels/activation.cu"
#include "gpu/kernels/adamw.cu"
#include "gpu/kernels/attention.cu"
#include "gpu/kernels/bf16.cu"
#include "gpu/kernels/dropout.cu"
#include "gpu/kernels/embedding.cu"
#include "gpu/kernels/gemm.cu"
#include "gpu/kernels/layer_norm.cu"
#include "gpu/kernels/loss.cu"
#include "gpu/kernels/piecewise_linear.cu"
#include "gpu/kernels/rms_norm.cu"
#include "gpu/kernels/rotary.cu"
#include "gpu/kernels/sgd.cu"
#include "gpu/kernels/swiglu.cu"

#include <cstdio>

namespace flywheel::gpu::cuda {

namespace {

int number(cudaError_t e) { return static_cast<int>(e); }
cudaEvent_t event_of(void* e) { return static_cast<cudaEvent_t>(e); }

int device_count(int* count) { return number(cudaGetDeviceCount(count)); }
int describe_device(int device, device_description* to) {
  cudaDeviceProp p{};
  if (const auto e = cudaGetDeviceProperties(&p, device); e != cudaSuccess)
    return number(e);
  if (const auto e = cudaSetDevice(device); e != cudaSuccess)
    return number(e);
  std::size_t free = 0, total = 0;
  if (const auto e = cudaMemGetInfo(&free, &total); e != cudaSuccess)
    return number(e);
  *to = {};
  std::snprintf(to->name, sizeof to->name, "%s", p.name);
  to->memory_total = total, to->memory_free = free;
  if (const auto e = cudaDeviceGetPCIBusId(to->pci, sizeof to->pci, device); e != cudaSuccess)
    return number(e);
  to->major = p.major, to->minor = p.minor, to->processors = p.multiProcessorCount;
  return 0;
}
int use_device(int device) { return number(cudaSetDevice(device)); }
const char* explain(int error) {
  return error >= cublas_offset ? cublasLtGetStatusString(static_cast<cublasStatus_t>(error - cublas_offset)) : cudaGetErrorString(static_cast<cudaError_t>(error));
}

int allocate(void** to, std::uint64_t bytes) { return number(cudaMalloc(to, bytes)); }
int release(void* memory) { return number(cudaFree(memory)); }
int copy_to_device(void* to, const void* from, std::uint64_t bytes, void* stream) {
  return number(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(stream)));
}
int copy_to_host(void* to, const void* from, std::uint64_t bytes, void* stream) {
  return number(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(stream)));
}
int copy_on_device(void* to, const void* from, std::uint64_t bytes, void* stream) {
  return number(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(stream)));
}
int fill_zero(void* to, std::uint64_t bytes, void* stream) { return number(cudaMemsetAsync(to, 0, bytes, stream_of(stream))); }
int make_stream(void** to) { return number(cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(to), cudaStreamNonBlocking)); }
int drop_stream(void* stream) { return number(cudaStreamDestroy(stream_of(stream))); }
int wait_stream(void* stream) { return number(cudaStreamSynchronize(stream_of(stream))); }
int make_event(void** to) { return number(cudaEventCreate(reinterpret_cast<cudaEvent_t*>(to))); }
int drop_event(void* event) { return number(cudaEventDestroy(event_of(event))); }
int record_event(void* event, void* stream) { return number(cudaEventRecord(event_of(event), stream_of(stream))); }
int stream_waits(void* stream, void* event) { return number(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0)); }
int event_milliseconds(float* to, void* from, void* until) { return number(cudaEventElapsedTime(to, event_of(from), event_of(until))); }

const operation_table table = {
    .version = operation_table_version,
    .bytes = sizeof(operation_table),
    .device_count = device_count,
    .describe_device = describe_device,
    .use_device = use_device,
    .explain = explain,
    .allocate = allocate,
    .release = release,
    .copy_to_device = copy_to_device,
    .copy_to_host = copy_to_host,
    .copy_on_device = copy_on_device,
    .fill_zero = fill_zero,
    .make_stream = make_stream,
    .drop_stream = drop_stream,
    .wait_stream = wait_stream,
    .make_event = make_event,
    .drop_event = drop_event,
    .record_event = record_event,
    .stream_waits = stream_waits,
    .event_milliseconds = event_milliseconds,
    .gemm = gemm,
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
    .rotary = rotary,
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

} // namespace

} // namespace flywheel::gpu::cuda

extern "C" const flywheel::gpu::operation_table* flywheel_cuda_operations() { return &flywheel::gpu::cuda::table; }
