#pragma once
// Dropout (Srivastava et al. 2014), scaled while training. Element e of site s at step t is kept or not as a function of
// (seed, t, s, e) alone: backward draws the same mask again, and so does a resumed run.

#include "gpu/matrix_view.hpp"
#include "gpu/philox.hpp"

#include <cstdint>

namespace flywheel::gpu {

struct dropout_site {
  philox_key key{0};
  std::uint64_t step = 0;
  std::uint32_t site = 0;  ///< which dropout of the network this is
};

/// In place: elements are zeroed with probability `rate` (to 1/65536) and the others divided by 1 - rate. Calling it on
/// the gradient, with the same site, is the backward pass. 0 <= rate < 1; 0 does nothing. Elements are numbered row by
/// row, whatever the stride; x may be a stretch of the site's rows, whose first is `first_row`.
template <class T> void dropout(matrix_view<T> x, double rate, const dropout_site& at, std::size_t first_row = 0);

} // namespace flywheel::gpu
