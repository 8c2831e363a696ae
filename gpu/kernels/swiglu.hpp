#pragma once
// SwiGLU (Shazeer, "GLU variants improve transformer", 2020): y = silu(gate) * up, with silu(x) = x / (1 + e^-x)
// (Elfwing, Uchibe, Doya 2017). Gate and up are the left and right half of one matrix, so that one product makes both.

#include "gpu/matrix_view.hpp"

namespace flywheel::gpu {

/// x is rows x 2w, gate first; y is rows x w.
template <class T> void swiglu_forward(matrix_view<const T> x, matrix_view<T> y);
/// x is overwritten with its own gradient.
template <class T> void swiglu_backward(matrix_view<const T> dy, matrix_view<T> x);

} // namespace flywheel::gpu
