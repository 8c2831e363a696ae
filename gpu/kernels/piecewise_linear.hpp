#pragma once
// A number as a learnt vector, piecewise linear between fixed edges (Gorishniy, Rubachev, Babenko, "On embeddings for
// numerical features in tabular deep learning", NeurIPS 2022: "PLE" followed by a linear layer).
//
// For edges e_0 < ... < e_B and x in segment k, with part = (x - e_k) / (e_{k+1} - e_k) held to [0, 1]:
//   y = bias + sum over j < k of slope_j + part * slope_k.   A missing x (NaN): y = absent.
// The sums up to each edge are made once per call, so a row costs two vectors, not B.

#include "gpu/matrix_view.hpp"

#include <span>
#include <vector>

namespace flywheel::gpu {

/// Views of one feature's parameters, or of their gradients. All vectors have the same width.
template <class T> struct piecewise_parameters {
  matrix_view<T> slope; ///< segments x width
  std::span<T> bias;    ///< width
  std::span<T> absent;  ///< width
};

/// The answers at the edges, which are all that forward needs of `p` but its slopes; `starts` is resized as needed.
template <class T> void piecewise_linear_starts(piecewise_parameters<const T> p, std::vector<T>& starts);

/// Rows at a time, from `starts` made before: `x[i * x_stride]` is the value of y's row i. `edges` has slope.rows + 1
/// increasing values.
template <class T>
void piecewise_linear_rows(const T* x, std::size_t x_stride, std::span<const T> edges, piecewise_parameters<const T> p,
                           const std::vector<T>& starts, matrix_view<T> y);

/// Both of these.
template <class T>
void piecewise_linear_forward(const T* x, std::size_t x_stride, std::span<const T> edges,
                              piecewise_parameters<const T> p, matrix_view<T> y, std::vector<T>& work);

/// Adds to the gradients in `d`. x is data and gets none.
template <class T>
void piecewise_linear_backward(const T* x, std::size_t x_stride, std::span<const T> edges, matrix_view<const T> dy,
                               piecewise_parameters<T> d, std::vector<T>& work);

} // namespace flywheel::gpu
