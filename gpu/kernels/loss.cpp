#include "gpu/kernels/loss.hpp"

#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace flywheel::gpu {

namespace {

// A row costs its values, and its logarithm and whatever else is done once: about as much as 500 values.
constexpr std::size_t values_a_part = 1u << 15, values_of_a_row = 500;

/// The highest element, and the sum of e^(x - highest).
template <class T> std::pair<T, T> measure(const T* x, std::size_t width) {
  T top = x[0], sum = 0;
#pragma omp simd reduction(max : top)
  for (std::size_t j = 0; j < width; ++j)
    top = x[j] > top ? x[j] : top;
#pragma omp simd reduction(+ : sum)
  for (std::size_t j = 0; j < width; ++j)
    sum += fast_exp(x[j] - top);
  return {top, sum};
}

/// x = e^(x - top) * scale - off
template <class T> void exponentials(T* x, std::size_t width, T top, T scale, T off) {
#pragma omp simd
  for (std::size_t j = 0; j < width; ++j)
    x[j] = fast_exp(x[j] - top) * scale - off;
}

/// f(row) for every row, several at a time, each as vector code.
template <class F> void each_row(std::size_t rows, std::size_t width, const F& f) {
  parallel_ranges(rows, std::max<std::size_t>(1, values_a_part / (width + values_of_a_row)), [&](std::size_t first, std::size_t last) {
    vectorised([&] {
      for (std::size_t i = first; i < last; ++i)
        f(i);
    });
  });
}

} // namespace

template <class T> void softmax(matrix_view<T> logits) {
  each_row(logits.rows, logits.columns, [&](std::size_t i) {
    T* x = logits.row(i);
    const auto [top, sum] = measure(x, logits.columns);
    exponentials(x, logits.columns, top, T(1) / sum, T(0));
  });
}

template <class T>
double softmax_cross_entropy(matrix_view<T> logits, std::span<const std::uint32_t> label, double smoothing, double averaged_over) {
  const auto classes = static_cast<double>(logits.columns);
  const double rows = averaged_over > 0 ? averaged_over : static_cast<double>(logits.rows);
  const double off = smoothing / classes, on = 1 - smoothing + off;
  static thread_local std::vector<double> losses; // summed in the order of rows, whoever computed them
  losses.resize(logits.rows);
  double* to = losses.data();
  each_row(logits.rows, logits.columns, [&](std::size_t i) {
    T* x = logits.row(i);
    double of_label = static_cast<double>(x[label[i]]) * (on - off);
    for (std::size_t j = 0; j < logits.columns && off > 0; ++j)
      of_label += off * static_cast<double>(x[j]);
    const auto [top, sum] = measure(x, logits.columns);
    to[i] = static_cast<double>(top) + std::log(static_cast<double>(sum)) - of_label;
    exponentials(x, logits.columns, top, static_cast<T>(1 / (static_cast<double>(sum) * rows)), static_cast<T>(off / rows));
    x[label[i]] -= static_cast<T>((on - off) / rows);
  });
  double loss = 0;
  for (const double of_row : losses)
    loss += of_row;
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
  template double softmax_cross_entropy<T>(matrix_view<T>, std::span<const std::uint32_t>, double, double);            \
  template double squared_error<T>(matrix_view<T>, std::span<const T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
