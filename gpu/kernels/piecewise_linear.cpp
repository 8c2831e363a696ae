#include "gpu/kernels/piecewise_linear.hpp"

#include "gpu/kernels/vectorised.hpp"

#include <algorithm>

namespace flywheel::gpu {

namespace {

template <class T> struct place {
  std::size_t segment;
  T part;
};

/// The last segment that begins at or below x, or the first. Halves the edges without a branch: the data decide each turn,
/// and no processor foresees them.
template <class T> inline place<T> locate(T x, const T* edges, std::size_t segments) {
  std::size_t k = 0;
  for (std::size_t left = segments; left > 1;) {
    const std::size_t half = left / 2;
    k += half * static_cast<std::size_t>(edges[k + half] <= x);
    left -= half;
  }
  T part = (x - edges[k]) / (edges[k + 1] - edges[k]);
  part = part > T(0) ? part : T(0);
  return {k, part < T(1) ? part : T(1)};
}

template <class T> inline bool is_missing(T x) { return x != x; }

/// f with the width, known to the compiler where it is the usual one.
template <class F> inline void with_width(std::size_t width, const F& f) {
  if (width == 8)
    f(std::integral_constant<std::size_t, 8>{});
  else
    f(width);
}

} // namespace

template <class T> void piecewise_linear_starts(piecewise_parameters<const T> p, std::vector<T>& starts) {
  const std::size_t width = p.bias.size(), segments = p.slope.rows;
  // starts(k, :) = bias + slopes before segment k
  starts.resize(segments * width);
  std::copy(p.bias.begin(), p.bias.end(), starts.begin());
  for (std::size_t k = 1; k < segments; ++k) {
    for (std::size_t j = 0; j < width; ++j)
      starts[k * width + j] = starts[(k - 1) * width + j] + p.slope(k - 1, j);
  }
}

template <class T>
void piecewise_linear_rows(const T* x, std::size_t x_stride, std::span<const T> edges, piecewise_parameters<const T> p,
                           const std::vector<T>& starts, matrix_view<T> y) {
  vectorised([&] {
    with_width(p.bias.size(), [&](auto width) {
      for (std::size_t i = 0; i < y.rows; ++i) {
        T* to = y.row(i);
        const T value = x[i * x_stride];
        const auto [k, part] = locate(value, edges.data(), p.slope.rows);
        const bool missing = is_missing(value);
        const T* start = missing ? p.absent.data() : starts.data() + k * width;
        const T* slope = p.slope.row(k);
        const T along = missing ? T(0) : part;
#pragma omp simd
        for (std::size_t j = 0; j < width; ++j)
          to[j] = start[j] + along * slope[j];
      }
    });
  });
}

template <class T>
void piecewise_linear_forward(const T* x, std::size_t x_stride, std::span<const T> edges,
                              piecewise_parameters<const T> p, matrix_view<T> y, std::vector<T>& work) {
  piecewise_linear_starts(p, work);
  piecewise_linear_rows(x, x_stride, edges, p, work, y);
}

template <class T>
void piecewise_linear_backward(const T* x, std::size_t x_stride, std::span<const T> edges, matrix_view<const T> dy,
                               piecewise_parameters<T> d, std::vector<T>& work) {
  const std::size_t segments = d.slope.rows;
  // work(k, :) gathers what reached segment k's start; each earlier slope and the bias carried it there.
  work.assign(segments * d.bias.size(), T(0));
  vectorised([&] {
    with_width(d.bias.size(), [&](auto width) {
      for (std::size_t i = 0; i < dy.rows; ++i) {
        const T* from = dy.row(i);
        const T value = x[i * x_stride];
        if (is_missing(value)) {
          T* absent = d.absent.data();
          for (std::size_t j = 0; j < width; ++j)
            absent[j] += from[j];
          continue;
        }
        const auto [k, part] = locate(value, edges.data(), segments);
        T* start = work.data() + k * width;
        T* slope = d.slope.row(k);
#pragma omp simd
        for (std::size_t j = 0; j < width; ++j) {
          start[j] += from[j];
          slope[j] += part * from[j];
        }
      }
    });
  });
  const std::size_t width = d.bias.size();
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
  template void piecewise_linear_starts<T>(piecewise_parameters<const T>, std::vector<T>&);                            \
  template void piecewise_linear_rows<T>(const T*, std::size_t, std::span<const T>, piecewise_parameters<const T>,     \
                                         const std::vector<T>&, matrix_view<T>);                                       \
  template void piecewise_linear_forward<T>(const T*, std::size_t, std::span<const T>, piecewise_parameters<const T>,  \
                                            matrix_view<T>, std::vector<T>&);                                          \
  template void piecewise_linear_backward<T>(const T*, std::size_t, std::span<const T>, matrix_view<const T>,          \
                                             piecewise_parameters<T>, std::vector<T>&);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
