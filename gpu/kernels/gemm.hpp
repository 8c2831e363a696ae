#pragma once
// Matrix product: c = alpha * op(a) op(b) + beta * c, where op is the identity or the transpose; float and double. Large ones
// through block_product.hpp where that is faster, others through OpenBLAS, which picks its code for the processor at run time.

#include "gpu/matrix_view.hpp"

namespace flywheel::gpu {

enum class op : bool { plain, transposed };

/// Shapes must agree; c overlaps neither a nor b. The same call gives the same bits on the same machine and thread count.
template <class T>
void gemm(op op_a, op op_b, std::type_identity_t<T> alpha, matrix_view<const T> a, matrix_view<const T> b,
          std::type_identity_t<T> beta, matrix_view<T> c);

/// The same as set_threads (gpu/parallel.hpp): a product is shared like every other loop.
void set_gemm_threads(unsigned count);

} // namespace flywheel::gpu
