#include "gpu/kernels/gemm.hpp"

#include "cluster/base/assert.hpp"
#include "gpu/kernels/block_product.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>
#include <cblas.h>
#include <mutex>

namespace flywheel::gpu {

namespace {

CBLAS_TRANSPOSE code_of(op o) { return o == op::plain ? CblasNoTrans : CblasTrans; }
blasint number(std::size_t n) { return static_cast<blasint>(n); }

void call(op oa, op ob, std::size_t k, float alpha, matrix_view<const float> a, matrix_view<const float> b, float beta,
          matrix_view<float> c) {
  cblas_sgemm(CblasRowMajor, code_of(oa), code_of(ob), number(c.rows), number(c.columns), number(k), alpha, a.data,
              number(a.stride), b.data, number(b.stride), beta, c.data, number(c.stride));
}
void call(op oa, op ob, std::size_t k, double alpha, matrix_view<const double> a, matrix_view<const double> b, double beta,
          matrix_view<double> c) {
  cblas_dgemm(CblasRowMajor, code_of(oa), code_of(ob), number(c.rows), number(c.columns), number(k), alpha, a.data,
              number(a.stride), b.data, number(b.stride), beta, c.data, number(c.stride));
}

// OpenBLAS would hand fixed shares to threads of its own and wait for the slowest.
std::once_flag library_is_alone;

// Below this a product ends before a helper has woken. Stretches are multiples of what OpenBLAS's inner loops take at
// once, and long enough that packing the other operand again for each costs little; several a thread, so that a thread
// whose core is busy elsewhere takes fewer.
constexpr double flops_to_share = 2e6;
constexpr std::size_t stretch_multiple = 16, stretches_a_thread = 4, stretch_shortest = 64;

template <class T> matrix_view<const T> rows_of(op o, matrix_view<const T> a, std::size_t first, std::size_t count) {
  return o == op::plain ? matrix_view<const T>{a.row(first), count, a.columns, a.stride} : a.columns_from(first, count);
}
template <class T> matrix_view<const T> columns_of(op o, matrix_view<const T> b, std::size_t first, std::size_t count) {
  return rows_of(o == op::plain ? op::transposed : op::plain, b, first, count);
}

/// Whether block_product is faster than the library: measured with AVX2 (bench/results/train_cpu.md); for wider vectors the
/// library has code and block_product has not.
bool own_is_faster() {
#if defined(__x86_64__)
  static const bool faster = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !__builtin_cpu_supports("avx512f");
  return faster;
#else
  return false;
#endif
}

std::size_t stretch_of(std::size_t extent) {
  const std::size_t team = threads(), most = std::max<std::size_t>(1, extent / stretch_shortest);
  const std::size_t parts = most < team ? most : std::min(most / team, stretches_a_thread) * team; // even shares
  return ((extent + parts - 1) / parts + stretch_multiple - 1) / stretch_multiple * stretch_multiple;
}

} // namespace

void set_gemm_threads(unsigned count) { set_threads(count); }

template <class T>
void gemm(op op_a, op op_b, std::type_identity_t<T> alpha, matrix_view<const T> a, matrix_view<const T> b,
          std::type_identity_t<T> beta, matrix_view<T> c) {
  std::call_once(library_is_alone, [] { openblas_set_num_threads(1); });
  const std::size_t inner = op_a == op::plain ? a.columns : a.rows;
  FLYWHEEL_ASSERT((op_a == op::plain ? a.rows : a.columns) == c.rows, "rows of a product");
  FLYWHEEL_ASSERT((op_b == op::plain ? b.columns : b.rows) == c.columns, "columns of a product");
  FLYWHEEL_ASSERT((op_b == op::plain ? b.rows : b.columns) == inner, "inner extent of a product");
  if (c.rows == 0 || c.columns == 0)
    return;
  const double flops = 2.0 * static_cast<double>(c.rows) * static_cast<double>(c.columns) * static_cast<double>(inner);
  if (flops >= flops_to_share && alpha == T(1) && (beta == T(0) || beta == T(1)) && own_is_faster()) {
    block_product<T>(op_a, op_b, a, b, beta == T(0) ? product_begin<T>{} : product_begin<T>{c.data, c.stride}, c);
  } else if (threads() == 1 || flops < flops_to_share) {
    call(op_a, op_b, inner, alpha, a, b, beta, c);
  } else if (c.columns >= c.rows) {
    parallel_ranges(c.columns, stretch_of(c.columns), [&](std::size_t first, std::size_t last) {
      call(op_a, op_b, inner, alpha, a, columns_of(op_b, b, first, last - first), beta, c.columns_from(first, last - first));
    });
  } else {
    parallel_ranges(c.rows, stretch_of(c.rows), [&](std::size_t first, std::size_t last) {
      call(op_a, op_b, inner, alpha, rows_of(op_a, a, first, last - first), b, beta,
           matrix_view<T>{c.row(first), last - first, c.columns, c.stride});
    });
  }
}

template void gemm<float>(op, op, float, matrix_view<const float>, matrix_view<const float>, float, matrix_view<float>);
template void gemm<double>(op, op, double, matrix_view<const double>, matrix_view<const double>, double, matrix_view<double>);

} // namespace flywheel::gpu
