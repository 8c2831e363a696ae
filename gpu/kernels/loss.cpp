#include "gpu/kernels/loss.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel::gpu {

namespace {

/// exp(x - top) over its sum, in place; returns top + log(sum).
template <class T> T softmax_row(T* x, std::size_t width) {
  const T top = *std::max_element(x, x + width);
  T sum = 0;
  for (std::size_t j = 0; j < width; ++j)
    sum += x[j] = std::exp(x[j] - top);
  for (std::size_t j = 0; j < width; ++j)
    x[j] /= sum;
  return top + std::log(sum);
}

} // namespace

template <class T> void softmax(matrix_view<T> logits) {
  for (std::size_t i = 0; i < logits.rows; ++i)
    softmax_row(logits.row(i), logits.columns);
}

template <class T>
double softmax_cross_entropy(matrix_view<T> logits, std::span<const std::uint32_t> label, double smoothing) {
  const auto classes = static_cast<double>(logits.columns), rows = static_cast<double>(logits.rows);
  const double off = smoothing / classes, on = 1 - smoothing + off;
  double loss = 0;
  for (std::size_t i = 0; i < logits.rows; ++i) {
    T* x = logits.row(i);
    double of_label = static_cast<double>(x[label[i]]) * (on - off);
    for (std::size_t j = 0; j < logits.columns && off > 0; ++j)
      of_label += off * static_cast<double>(x[j]);
    loss += static_cast<double>(softmax_row(x, logits.columns)) - of_label;
    for (std::size_t j = 0; j < logits.columns; ++j)
      x[j] = static_cast<T>((static_cast<double>(x[j]) - (j == label[i] ? on : off)) / rows);
  }
  return loss / rows;
}

template <class T> double squared_error(matrix_view<T> value, std::span<const T> wanted) {
  const auto rows = static_cast<double>(value.rows);
  double loss = 0;
  for (std::size_t i = 0; i < value.rows; ++i) {
    const double difference = static_cast<double>(value(i, 0) - wanted[i]);
    loss += 0.5 * difference * difference;
    value(i, 0) = static_cast<T>(difference / rows);
  }
  return loss / rows;
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void softmax<T>(matrix_view<T>);                                                                            \
  template double softmax_cross_entropy<T>(matrix_view<T>, std::span<const std::uint32_t>, double);                    \
  template double squared_error<T>(matrix_view<T>, std::span<const T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
