#include "gpu/kernels/dropout.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>

namespace flywheel::gpu {

template <class T> void dropout(matrix_view<T> x, double rate, const dropout_site& at, std::size_t first_row) {
  FLYWHEEL_ASSERT(rate >= 0 && rate < 1, "dropout's rate");
  if (rate == 0)
    return;
  const auto threshold = static_cast<std::uint32_t>(rate * 65536);
  const T scale = T(1) / T(1 - static_cast<double>(threshold) / 65536);
  for (std::size_t i = 0; i < x.rows; ++i) {
    T* row = x.row(i);
    const std::size_t before = (first_row + i) * x.columns; // elements of the site before this row
    // One block of 128 bits decides eight elements, 16 bits each; a row may begin and end within a block.
    for (std::size_t j = 0, count; j < x.columns; j += count) {
      const std::size_t block = (before + j) / 8, lane = (before + j) % 8;
      const auto bits = philox(at.key, {static_cast<std::uint32_t>(block), at.site, static_cast<std::uint32_t>(at.step),
                                        static_cast<std::uint32_t>(at.step >> 32)});
      count = std::min(8 - lane, x.columns - j);
      for (std::size_t k = 0; k < count; ++k) {
        const std::uint32_t draw = (bits[(lane + k) / 2] >> (16 * ((lane + k) % 2))) & 0xFFFFu;
        row[j + k] = draw < threshold ? T(0) : row[j + k] * scale;
      }
    }
  }
}

template void dropout<float>(matrix_view<float>, double, const dropout_site&, std::size_t);
template void dropout<double>(matrix_view<double>, double, const dropout_site&, std::size_t);

} // namespace flywheel::gpu
