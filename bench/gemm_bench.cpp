// bench_gemm THREADS: the matrix products of a training step through gpu/kernels/gemm; see gemm_shapes.hpp.

#include "bench/gemm_shapes.hpp"
#include "gpu/denormals.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/parallel.hpp"

using namespace flywheel::gpu;

int main(int argc, char** argv) {
  set_threads(argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 2);
  const without_denormals quick;
  return flywheel::bench::answer_turns([](const flywheel::bench::product_shape& s, const float* a, const float* b, float* c) {
    const auto m = static_cast<std::size_t>(s.m), n = static_cast<std::size_t>(s.n), k = static_cast<std::size_t>(s.k);
    const matrix_view<const float> left = s.transpose_a ? matrix_view<const float>{a, k, m} : matrix_view<const float>{a, m, k};
    const matrix_view<const float> right = s.transpose_b ? matrix_view<const float>{b, n, k} : matrix_view<const float>{b, k, n};
    gemm<float>(s.transpose_a ? op::transposed : op::plain, s.transpose_b ? op::transposed : op::plain, 1, left, right, 0, {c, m, n});
  });
}
