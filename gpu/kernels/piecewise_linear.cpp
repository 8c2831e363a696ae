#include "gpu/kernels/piecewise_linear.hpp"

#include <algorithm>

namespace flywheel::gpu {

namespace {

template <class T> struct place {
  std::size_t segment;
  T part;
};

template <class T> place<T> locate(T x, std::span<const T> edges) {
  const auto inner = edges.subspan(1, edges.size() - 2);
  const auto k = static_cast<std::size_t>(std::upper_bound(inner.begin(), inner.end(), x) - inner.begin());
  const T part = (x - edges[k]) / (edges[k + 1] - edges[k]);
  return {k, std::clamp(part, T(0), T(1))};
}

template <class T> bool is_missing(T x) { return x != x; }

} // namespace

template <class T>
void piecewise_linear_forward(const T* x, std::size_t x_stride, std::span<const T> edges,
                              piecewise_parameters<const T> p, matrix_view<T> y, std::vector<T>& work) {
  const std::size_t width = p.bias.size(), segments = p.slope.rows;
  // work(k, :) = bias + slopes before segment k: the answer at edge k.
  work.resize(segments * width);
  std::copy(p.bias.begin(), p.bias.end(), work.begin());
  for (std::size_t k = 1; k < segments; ++k) {
    for (std::size_t j = 0; j < width; ++j)
      work[k * width + j] = work[(k - 1) * width + j] + p.slope(k - 1, j);
  }
  for (std::size_t i = 0; i < y.rows; ++i) {
    T* to = y.row(i);
    if (is_missing(x[i * x_stride])) {
      std::copy(p.absent.begin(), p.absent.end(), to);
      continue;
    }
    const auto [k, part] = locate(x[i * x_stride], edges);
    const T* start = work.data() + k * width;
    const T* slope = p.slope.row(k);
    for (std::size_t j = 0; j < width; ++j)
      to[j] = start[j] + part * slope[j];
  }
}

template <class T>
void piecewise_linear_backward(const T* x, std::size_t x_stride, std::span<const T> edges, matrix_view<const T> dy,
                               piecewise_parameters<T> d, std::vector<T>& work) {
  const std::size_t width = d.bias.size(), segments = d.slope.rows;
  // work(k, :) gathers what reached segment k's start; each earlier slope and the bias carried it there.
  work.assign(segments * width, T(0));
  for (std::size_t i = 0; i < dy.rows; ++i) {
    const T* from = dy.row(i);
    if (is_missing(x[i * x_stride])) {
      for (std::size_t j = 0; j < width; ++j)
        d.absent[j] += from[j];
      continue;
    }
    const auto [k, part] = locate(x[i * x_stride], edges);
    T* start = work.data() + k * width;
    T* slope = d.slope.row(k);
    for (std::size_t j = 0; j < width; ++j) {
      start[j] += from[j];
      slope[j] += part * from[j];
    }
  }
  for (std::size_t k = segments - 1; k > 0; --k) {
    for (std::size_t j = 0; j < width; ++j) {
      d.slope(k - 1, j) += work[k * width + j];
      work[(k - 1) * width + j] += work[k * width + j];
    }
  }
  for (std::size_t j = 0; j < width; ++j)
    d.bias[j] += work[j];
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void piecewise_linear_forward<T>(const T*, std::size_t, std::span<const T>, piecewise_parameters<const T>,  \
                                            matrix_view<T>, std::vector<T>&);                                          \
  template void piecewise_linear_backward<T>(const T*, std::size_t, std::span<const T>, matrix_view<const T>,          \
                                             piecewise_parameters<T>, std::vector<T>&);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
