#pragma once
// NCCL and the CUDA driver, found at run time: the program starts, and says what is missing, on machines without them. Only the
// functions we call are declared; their forms are those of nccl.h 2.14 and later and of cuda.h (driver API), which are stable.

#include "cluster/base/error.hpp"

#include <array>
#include <cstddef>
#include <string>

namespace flywheel::nccl {

struct nccl_unique_id {
  std::array<char, 128> bytes;
};
using nccl_comm = void*;   ///< ncclComm_t
using cuda_stream = void*; ///< CUstream
using cuda_context = void*;
using device_address = unsigned long long; ///< CUdeviceptr

namespace nccl_code { // ncclResult_t
inline constexpr int success = 0, unhandled_cuda = 1, system = 2, internal = 3, invalid_argument = 4, invalid_usage = 5,
                     remote = 6, in_progress = 7;
}
namespace nccl_type { // ncclDataType_t
inline constexpr int i64 = 4, f32 = 7, f64 = 8, bf16 = 9;
}
namespace nccl_op { // ncclRedOp_t
inline constexpr int sum = 0, max = 2, avg = 4;
}
inline constexpr int cuda_not_ready = 600; // CUDA_ERROR_NOT_READY

/// The functions, loaded once and never unloaded.
struct nccl_library {
  int (*ncclGetVersion)(int*) = nullptr;
  int (*ncclGetUniqueId)(nccl_unique_id*) = nullptr;
  int (*ncclCommInitRank)(nccl_comm*, int, nccl_unique_id, int) = nullptr;
  int (*ncclCommAbort)(nccl_comm) = nullptr;
  int (*ncclCommDestroy)(nccl_comm) = nullptr;
  int (*ncclCommGetAsyncError)(nccl_comm, int*) = nullptr;
  const char* (*ncclGetErrorString)(int) = nullptr;
  int (*ncclAllReduce)(const void*, void*, std::size_t, int, int, nccl_comm, cuda_stream) = nullptr;
  int (*ncclReduce)(const void*, void*, std::size_t, int, int, int, nccl_comm, cuda_stream) = nullptr;
  int (*ncclBroadcast)(const void*, void*, std::size_t, int, int, nccl_comm, cuda_stream) = nullptr;
  int (*ncclGroupStart)() = nullptr;
  int (*ncclGroupEnd)() = nullptr;

  int (*cuInit)(unsigned) = nullptr;
  int (*cuDeviceGetCount)(int*) = nullptr;
  int (*cuDeviceGet)(int*, int) = nullptr;
  int (*cuDevicePrimaryCtxRetain)(cuda_context*, int) = nullptr;
  int (*cuCtxSetCurrent)(cuda_context) = nullptr;
  int (*cuStreamCreate)(cuda_stream*, unsigned) = nullptr;
  int (*cuStreamQuery)(cuda_stream) = nullptr;
  int (*cuMemAlloc_v2)(device_address*, std::size_t) = nullptr;
  int (*cuMemsetD8_v2)(device_address, unsigned char, std::size_t) = nullptr;
  int (*cuMemFree_v2)(device_address) = nullptr;

  int version = 0; ///< e.g. 22809
  int gpus = 0;    ///< on this host, at least 1

  /// What has been found, or unsupported naming what is missing: the NCCL library, the CUDA driver, or a GPU. Any thread.
  /// FLYWHEEL_NCCL_LIBRARY in the environment names another file for libnccl.so.2.
  static result<const nccl_library*> find();
};

/// One sentence for `flywheel doctor`: the version and GPUs found, or what is missing.
std::string describe_nccl();

} // namespace flywheel::nccl
