#include "gpu/kernels/embedding.hpp"

#include <algorithm>

namespace flywheel::gpu {

template <class T>
void embedding_forward(std::span<const std::uint32_t> index, matrix_view<const T> table, matrix_view<T> y) {
  for (std::size_t i = 0; i < index.size(); ++i)
    std::copy_n(table.row(index[i]), table.columns, y.row(i));
}

template <class T>
void embedding_backward(std::span<const std::uint32_t> index, matrix_view<const T> dy, matrix_view<T> dtable) {
  for (std::size_t i = 0; i < index.size(); ++i) {
    T* to = dtable.row(index[i]);
    const T* from = dy.row(i);
    for (std::size_t j = 0; j < dtable.columns; ++j)
      to[j] += from[j];
  }
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void embedding_forward<T>(std::span<const std::uint32_t>, matrix_view<const T>, matrix_view<T>);            \
  template void embedding_backward<T>(std::span<const std::uint32_t>, matrix_view<const T>, matrix_view<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
