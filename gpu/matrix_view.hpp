#pragma once
// Rows of numbers that somebody else owns. A stride lets a layer write into its columns of a wider matrix.

#include <cstddef>
#include <type_traits>

namespace flywheel::gpu {

/// Row-major; element (i, j) is data[i * stride + j]. Copying copies the view. No ownership, no bounds checks.
template <class T> struct matrix_view {
  T* data = nullptr;
  std::size_t rows = 0, columns = 0, stride = 0;

  matrix_view() = default;
  matrix_view(T* d, std::size_t r, std::size_t c) : data(d), rows(r), columns(c), stride(c) {}
  matrix_view(T* d, std::size_t r, std::size_t c, std::size_t s) : data(d), rows(r), columns(c), stride(s) {}
  /// A view for reading converts from one for writing.
  template <class U>
    requires std::is_same_v<const U, T>
  matrix_view(const matrix_view<U>& other)
      : data(other.data), rows(other.rows), columns(other.columns), stride(other.stride) {}

  T* row(std::size_t i) const { return data + i * stride; }
  T& operator()(std::size_t i, std::size_t j) const { return data[i * stride + j]; }
  matrix_view first_rows(std::size_t n) const { return {data, n, columns, stride}; }
  matrix_view rows_from(std::size_t first, std::size_t count) const { return {row(first), count, columns, stride}; }
  matrix_view columns_from(std::size_t first, std::size_t count) const { return {data + first, rows, count, stride}; }
};

} // namespace flywheel::gpu
