// gemm.hpp on the GPU, through cuBLASLt. The library thinks in columns: our row-major c = a b is its c' = b' a', so a and b
// trade places and a bias per column of c is what it calls a bias per row.

#include "gpu/operations.hpp"
#include "gpu/kernels/launch.cuh"

#include <cublasLt.h>
#include <map>
#include <mutex>
#include <tuple>

namespace flywheel::gpu::cuda {

namespace {

int number(cublasStatus_t s) { return s == CUBLAS_STATUS_SUCCESS ? 0 : cublas_offset + static_cast<int>(s); }

template <class T, cublasStatus_t (*Destroy)(T)> struct owned {
  T value = nullptr;
  ~owned() {
    if (value != nullptr)
      Destroy(value);
  }
};

// Asking for the best algorithm costs more than a small product; the answer depends on these alone. Kept for the life of
// the process: one entry a shape that a network has.
using shape_key = std::tuple<int, std::int32_t, std::int32_t, std::int32_t, std::int32_t, std::uint64_t, std::uint64_t, std::uint64_t,
                             std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t>;

struct per_process {
  std::mutex mutex;
  std::map<int, cublasLtHandle_t> handles;
  std::map<shape_key, cublasLtMatmulAlgo_t> algorithms;
};
per_process& kept() {
  static per_process* one = new per_process; // never destroyed: CUDA may be gone by then
  return *one;
}

int layout(owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>& to, cudaDataType_t type, std::uint64_t rows, std::uint64_t columns,
           std::uint64_t stride) {
  return number(cublasLtMatrixLayoutCreate(&to.value, type, rows, columns, static_cast<std::int64_t>(stride)));
}

} // namespace

int gemm(const gemm_call* call, void* stream) {
  const gemm_call& c = *call;
  if (c.m == 0 || c.n == 0)
    return 0;
  int device = 0;
  if (const auto e = cudaGetDevice(&device); e != cudaSuccess)
    return static_cast<int>(e);
  auto& k = kept();
  const std::lock_guard lock{k.mutex};
  auto& handle = k.handles[device];
  if (handle == nullptr)
    if (const int e = number(cublasLtCreate(&handle)); e != 0)
      return e;

  const cudaDataType_t type = c.type == gemm_type::bf16 ? CUDA_R_16BF : CUDA_R_32F;
  const cublasComputeType_t compute = c.type == gemm_type::f32_by_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> product;
  int e = number(cublasLtMatmulDescCreate(&product.value, compute, CUDA_R_32F));
  const auto set = [&](cublasLtMatmulDescAttributes_t what, const auto& value) {
    if (e == 0)
      e = number(cublasLtMatmulDescSetAttribute(product.value, what, &value, sizeof value));
  };
  const auto code = [](std::int32_t transposed) { return transposed != 0 ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(CUBLASLT_MATMUL_DESC_TRANSA, code(c.transpose_b));
  set(CUBLASLT_MATMUL_DESC_TRANSB, code(c.transpose_a));
  if (c.epilogue != gemm_epilogue::none) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, c.epilogue == gemm_epilogue::bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_GELU_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, c.bias);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
  }
  owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> left, right, result;
  // As stored, by columns: b is n x k (or k x n if it is transposed), a is k x m (or m x k).
  if (e == 0)
    e = c.transpose_b != 0 ? layout(left, type, c.k, c.n, c.stride_b) : layout(left, type, c.n, c.k, c.stride_b);
  if (e == 0)
    e = c.transpose_a != 0 ? layout(right, type, c.m, c.k, c.stride_a) : layout(right, type, c.k, c.m, c.stride_a);
  if (e == 0)
    e = layout(result, CUDA_R_32F, c.n, c.m, c.stride_c);
  if (e != 0)
    return e;

  const shape_key key{device, static_cast<std::int32_t>(c.type), static_cast<std::int32_t>(c.epilogue), c.transpose_a, c.transpose_b,
                      c.m, c.n, c.k, c.stride_a, c.stride_b, c.stride_c, c.workspace_bytes};
  auto found = k.algorithms.find(key);
  if (found == k.algorithms.end()) {
    owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> wish;
    e = number(cublasLtMatmulPreferenceCreate(&wish.value));
    if (e == 0)
      e = number(cublasLtMatmulPreferenceSetAttribute(wish.value, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &c.workspace_bytes, sizeof c.workspace_bytes));
    // Operands are only known to be aligned to their elements' four numbers.
    const std::uint32_t alignment = 16;
    for (const auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      if (e == 0)
        e = number(cublasLtMatmulPreferenceSetAttribute(wish.value, which, &alignment, sizeof alignment));
    cublasLtMatmulHeuristicResult_t best{};
    int answers = 0;
    if (e == 0)
      e = number(cublasLtMatmulAlgoGetHeuristic(handle, product.value, left.value, right.value, result.value, result.value, wish.value, 1, &best, &answers));
    if (e == 0 && answers == 0)
      e = number(CUBLAS_STATUS_NOT_SUPPORTED);
    if (e != 0)
      return e;
    found = k.algorithms.emplace(key, best.algo).first;
  }
  const float* before = c.before != nullptr ? c.before : c.c;
  return number(cublasLtMatmul(handle, product.value, &c.alpha, c.b, left.value, c.a, right.value, &c.beta, before, result.value, c.c, result.value,
                               &found->second, c.workspace, c.workspace_bytes, stream_of(stream)));
}

} // namespace flywheel::gpu::cuda
