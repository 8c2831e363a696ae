// The products of bench/gemm through oneDNN's sgemm; threads by OMP_NUM_THREADS.

#include "bench/gemm_shapes.hpp"

#include <oneapi/dnnl/dnnl.h>

int main() {
  return flywheel::bench::answer_turns([](const flywheel::bench::product_shape& s, const float* a, const float* b, float* c) {
    if (dnnl_sgemm(s.transpose_a ? 'T' : 'N', s.transpose_b ? 'T' : 'N', s.m, s.n, s.k, 1, a, s.transpose_a ? s.m : s.k, b,
                   s.transpose_b ? s.k : s.n, 0, c, s.n) != dnnl_success)
      std::exit(1);
  });
}
