#include "gpu/kernels/gemm.hpp"

#include "cluster/base/assert.hpp"

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

std::once_flag threads_are_set;

} // namespace

void set_gemm_threads(unsigned threads) {
  std::call_once(threads_are_set, [] {});
  openblas_set_num_threads(static_cast<int>(threads == 0 ? 1 : threads));
}

template <class T>
void gemm(op op_a, op op_b, std::type_identity_t<T> alpha, matrix_view<const T> a, matrix_view<const T> b,
          std::type_identity_t<T> beta, matrix_view<T> c) {
  std::call_once(threads_are_set, [] { openblas_set_num_threads(1); });
  const std::size_t inner = op_a == op::plain ? a.columns : a.rows;
  FLYWHEEL_ASSERT((op_a == op::plain ? a.rows : a.columns) == c.rows, "rows of a product");
  FLYWHEEL_ASSERT((op_b == op::plain ? b.columns : b.rows) == c.columns, "columns of a product");
  FLYWHEEL_ASSERT((op_b == op::plain ? b.rows : b.columns) == inner, "inner extent of a product");
  if (c.rows == 0 || c.columns == 0)
    return;
  call(op_a, op_b, inner, alpha, a, b, beta, c);
}

template void gemm<float>(op, op, float, matrix_view<const float>, matrix_view<const float>, float, matrix_view<float>);
template void gemm<double>(op, op, double, matrix_view<const double>, matrix_view<const double>, double, matrix_view<double>);

} // namespace flywheel::gpu
