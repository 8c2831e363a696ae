#include "gpu/kernels/panel_product.hpp"

#include "cluster/base/assert.hpp"
#include "gpu/kernels/vector_lanes.hpp"
#include "gpu/kernels/vectorised.hpp"

#include <algorithm>
#include <cstring>

namespace flywheel::gpu {

namespace {

// Six rows by two vectors are twelve sums, which with the two vectors of b and one element of a fill AVX2's sixteen
// registers; fewer sums than eight would wait for each other. A depth of 256 keeps a panel in half of the first cache.
constexpr std::size_t rows_a_tile = 6, depth_a_block = 256;

/// Where a tile's sums begin, and where they go.
template <class T> struct tile_place {
  const T* begin;         ///< null: zero
  std::size_t begin_step; ///< from row to row; 0: the same for each
  T* c;
  std::size_t c_step;
};

/// `Rows` rows by one panel: a's element (i, k) is a[i * a_row + k * a_column].
template <std::size_t Rows, class T>
inline void tile(std::size_t depth, const T* a, std::size_t a_row, std::size_t a_column, const T* b, std::size_t b_row,
                 const tile_place<T>& at) {
  constexpr std::size_t half = panel_width<T> / 2;
  vector<T> left[Rows], right[Rows];
#pragma GCC unroll 6
  for (std::size_t i = 0; i < Rows; ++i) {
    left[i] = right[i] = vector<T>{};
    if (at.begin != nullptr) {
      load<T>(left[i], at.begin + i * at.begin_step);
      load<T>(right[i], at.begin + i * at.begin_step + half);
    }
  }
  for (std::size_t k = 0; k < depth; ++k, a += a_column, b += b_row) {
    vector<T> b0, b1;
    load<T>(b0, b);
    load<T>(b1, b + half);
#pragma GCC unroll 6
    for (std::size_t i = 0; i < Rows; ++i) {
      const T x = a[i * a_row];
      left[i] += x * b0;
      right[i] += x * b1;
    }
  }
#pragma GCC unroll 6
  for (std::size_t i = 0; i < Rows; ++i) {
    store<T>(left[i], at.c + i * at.c_step);
    store<T>(right[i], at.c + i * at.c_step + half);
  }
}

template <class T>
inline void tile_of(std::size_t rows, std::size_t depth, const T* a, std::size_t a_row, std::size_t a_column, const T* b,
                    std::size_t b_row, const tile_place<T>& at) {
  switch (rows) {
  case 6: return tile<6>(depth, a, a_row, a_column, b, b_row, at);
  case 5: return tile<5>(depth, a, a_row, a_column, b, b_row, at);
  case 4: return tile<4>(depth, a, a_row, a_column, b, b_row, at);
  case 3: return tile<3>(depth, a, a_row, a_column, b, b_row, at);
  case 2: return tile<2>(depth, a, a_row, a_column, b, b_row, at);
  default: return tile<1>(depth, a, a_row, a_column, b, b_row, at);
  }
}

/// Rows of the next tile: six, but two fours rather than a six and a two, which would wait for its own sums.
constexpr std::size_t next_tile(std::size_t left) {
  if (left == rows_a_tile + 1 || left == rows_a_tile + 2)
    return 4;
  return std::min(left, rows_a_tile);
}

/// A panel that sticks out of c: through a place of full width.
template <class T>
inline void narrow_tile(std::size_t rows, std::size_t columns, std::size_t depth, const T* a, std::size_t a_row,
                        std::size_t a_column, const T* b, std::size_t b_row, const tile_place<T>& at) {
  T begin[rows_a_tile * panel_width<T>] = {}, c[rows_a_tile * panel_width<T>];
  for (std::size_t i = 0; i < rows && at.begin != nullptr; ++i)
    std::copy_n(at.begin + i * at.begin_step, columns, begin + i * panel_width<T>);
  tile_of<T>(rows, depth, a, a_row, a_column, b, b_row, {begin, panel_width<T>, c, panel_width<T>});
  for (std::size_t i = 0; i < rows; ++i)
    std::copy_n(c + i * panel_width<T>, columns, at.c + i * at.c_step);
}

/// c = op(a) b + begin, where begin is a row, c itself (begin_step is c's stride) or nothing.
template <class T>
void product(op op_a, matrix_view<const T> a, const panels<T>& b, const T* begin, std::size_t begin_step, matrix_view<T> c) {
  const bool plain = op_a == op::plain;
  FLYWHEEL_ASSERT((plain ? a.rows : a.columns) == c.rows && (plain ? a.columns : a.rows) == b.depth && b.columns == c.columns,
                  "the shapes of a product");
  const std::size_t a_row = plain ? a.stride : 1, a_column = plain ? 1 : a.stride;
  vectorised([&] {
    // At least once: without depth the product is what it begins with.
    for (std::size_t first = 0; first == 0 || first < b.depth; first += depth_a_block) {
      const std::size_t depth = std::min(b.depth - first, depth_a_block);
      const T* from = first == 0 ? begin : c.data;
      const std::size_t from_step = first == 0 ? begin_step : c.stride;
      for (std::size_t j = 0; j < c.columns; j += panel_width<T>) {
        const T* panel = b.data + j / panel_width<T> * b.panel_step + first * b.row_step;
        const std::size_t columns = std::min(c.columns - j, panel_width<T>);
        for (std::size_t i = 0, rows; i < c.rows; i += rows) {
          rows = next_tile(c.rows - i);
          const T* corner = a.data + i * a_row + first * a_column;
          const tile_place<T> at{from == nullptr ? nullptr : from + i * from_step + j, from_step, c.row(i) + j, c.stride};
          if (columns == panel_width<T>)
            tile_of<T>(rows, depth, corner, a_row, a_column, panel, b.row_step, at);
          else
            narrow_tile<T>(rows, columns, depth, corner, a_row, a_column, panel, b.row_step, at);
        }
      }
    }
  });
}

/// The first `panels` panels of w as it lies: row by row, as memory likes to be read.
template <class T> inline void pack_rows(matrix_view<const T> w, std::size_t panels, T* to) {
  constexpr std::size_t width = panel_width<T>;
  for (std::size_t k = 0; k < w.rows; ++k) {
    const T* from = w.row(k);
    for (std::size_t p = 0; p < panels; ++p)
      std::memcpy(to + (p * w.rows + k) * width, from + p * width, width * sizeof(T));
  }
}

/// A panel of the transpose of w: as many of its rows.
template <class T> inline void pack_transposed(matrix_view<const T> w, std::size_t first, T* to) {
  constexpr std::size_t width = panel_width<T>, n = lanes<T>;
  const std::size_t depth = w.columns;
  std::size_t k = 0;
  for (; k + n <= depth; k += n) {
    for (std::size_t half = 0; half < width; half += n) {
      vector<T> square[n];
#pragma GCC unroll 8
      for (std::size_t i = 0; i < n; ++i)
        load<T>(square[i], w.row(first + half + i) + k);
      transpose<T>(square);
#pragma GCC unroll 8
      for (std::size_t i = 0; i < n; ++i)
        store<T>(square[i], to + (k + i) * width + half);
    }
  }
  for (; k < depth; ++k) {
    for (std::size_t i = 0; i < width; ++i)
      to[k * width + i] = w(first + i, k);
  }
}

/// The last panel, where it is not full.
template <class T>
inline void pack_narrow_panel(bool plain, matrix_view<const T> w, std::size_t depth, std::size_t first, std::size_t count, T* to) {
  for (std::size_t k = 0; k < depth; ++k) {
    for (std::size_t i = 0; i < panel_width<T>; ++i)
      to[k * panel_width<T> + i] = i >= count ? T(0) : plain ? w(k, first + i) : w(first + i, k);
  }
}

} // namespace

template <class T> panels<T> pack(op o, matrix_view<const T> w, T* to) {
  const bool plain = o == op::plain;
  const std::size_t depth = plain ? w.rows : w.columns, columns = plain ? w.columns : w.rows;
  vectorised([&] {
    constexpr std::size_t width = panel_width<T>;
    const std::size_t full = columns / width;
    if (plain)
      pack_rows<T>(w, full, to);
    for (std::size_t p = 0; p < full && !plain; ++p)
      pack_transposed<T>(w, p * width, to + p * depth * width);
    if (columns > full * width)
      pack_narrow_panel<T>(plain, w, depth, full * width, columns - full * width, to + full * depth * width);
  });
  return {to, depth, columns, panel_width<T>, depth * panel_width<T>};
}

template <class T> panels<T> as_panels(matrix_view<const T> x) {
  FLYWHEEL_ASSERT(x.stride >= panel_stride<T>(x.columns), "rows too close to be read as panels");
  return {x.data, x.rows, x.columns, x.stride, panel_width<T>};
}

template <class T>
void panel_product(op op_a, std::type_identity_t<matrix_view<const T>> a, const panels<T>& b,
                   std::type_identity_t<std::span<const T>> row, matrix_view<T> c) {
  FLYWHEEL_ASSERT(row.empty() || row.size() == c.columns, "the row added to a product");
  product<T>(op_a, a, b, row.empty() ? nullptr : row.data(), 0, c);
}

template <class T>
void panel_product_add(op op_a, std::type_identity_t<matrix_view<const T>> a, const panels<T>& b, matrix_view<T> c) {
  product<T>(op_a, a, b, c.data, c.stride, c);
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template panels<T> pack<T>(op, matrix_view<const T>, T*);                                                            \
  template panels<T> as_panels<T>(matrix_view<const T>);                                                               \
  template void panel_product<T>(op, matrix_view<const T>, const panels<T>&, std::span<const T>, matrix_view<T>);      \
  template void panel_product_add<T>(op, matrix_view<const T>, const panels<T>&, matrix_view<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
