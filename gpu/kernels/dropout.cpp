#include "gpu/kernels/dropout.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>

namespace flywheel::gpu {

template <class T> void dropout(matrix_view<T> x, double rate, const dropout_site& at) {
  FLYWHEEL_ASSERT(rate >= 0 && rate < 1 && x.stride == x.columns, "dropout's rate and layout");
  if (rate == 0)
    return;
  const auto threshold = static_cast<std::uint32_t>(rate * 65536);
  const T scale = T(1) / T(1 - static_cast<double>(threshold) / 65536);
  const std::size_t size = x.rows * x.columns;
  // One block of 128 bits decides eight elements, 16 bits each.
  for (std::size_t first = 0; first < size; first += 8) {
    const auto bits = philox(at.key, {static_cast<std::uint32_t>(first / 8), at.site, static_cast<std::uint32_t>(at.step),
                                      static_cast<std::uint32_t>(at.step >> 32)});
    const std::size_t count = std::min<std::size_t>(8, size - first);
    for (std::size_t k = 0; k < count; ++k) {
      const std::uint32_t draw = (bits[k / 2] >> (16 * (k % 2))) & 0xFFFFu;
      x.data[first + k] = draw < threshold ? T(0) : x.data[first + k] * scale;
    }
  }
}

template void dropout<float>(matrix_view<float>, double, const dropout_site&);
template void dropout<double>(matrix_view<double>, double, const dropout_site&);

} // namespace flywheel::gpu
