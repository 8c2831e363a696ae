#include "gpu/kernels/block_product.hpp"

#include "cluster/base/assert.hpp"
#include "gpu/host_array.hpp"
#include "gpu/kernels/panel_product.hpp"
#include "gpu/kernels/vector_lanes.hpp"
#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>
#include <cstring>

namespace flywheel::gpu {

namespace {

// Twelve sums of two vectors by six rows, as in panel_product.cpp. A panel of 384 x 16 floats fills three quarters of the
// first cache (32 KiB) and stays there while the tiles of a block of rows pass by; 192 rows of them, with a stretch of panels,
// stay in the second (512 KiB). A depth of 256 was 2 % slower in a step of GPT-2 124M: c is read and written more often.
constexpr std::size_t rows_a_tile = 6, depth_a_block = 384, rows_a_block = 192, columns_a_stretch = 96, rows_a_stretch = 192;
static_assert(rows_a_block % rows_a_tile == 0 && rows_a_stretch % rows_a_tile == 0);

// The side that all threads share lies packed in the third cache: 16 MiB of floats.
constexpr std::size_t shared_elements = std::size_t{1} << 22;

// Depths a turn of the inner loop: with 4 a loop turns too often for its end to be predicted, 6 % slower.
constexpr std::size_t unrolled = 8;

constexpr std::size_t line_bytes = 64;

constexpr std::size_t up_to_multiple(std::size_t n, std::size_t of) { return (n + of - 1) / of * of; }

/// Part of op(x): rows [i, i + rows) and columns [j, j + columns) of the product's operand, as it lies in memory.
template <class T> matrix_view<const T> piece(op o, matrix_view<const T> x, std::size_t i, std::size_t rows, std::size_t j, std::size_t columns) {
  if (o == op::plain)
    return x.rows_from(i, rows).columns_from(j, columns);
  return x.rows_from(j, columns).columns_from(i, rows);
}

/// Asks for a piece of memory, a few lines at each call, so that it is in the cache when its turn comes.
template <class T> class fetcher {
public:
  fetcher(matrix_view<const T> what, std::size_t calls) : what_(what) {
    const std::size_t lines = what.rows * (up_to_multiple(what.columns, line_) / line_);
    lines_a_call_ = (lines + calls - 1) / calls;
  }
  void next() {
    for (std::size_t n = 0; n < lines_a_call_ && row_ < what_.rows; ++n) {
      __builtin_prefetch(what_.row(row_) + column_, 0, 2);
      column_ += line_;
      if (column_ >= what_.columns)
        column_ = 0, ++row_;
    }
  }

private:
  static constexpr std::size_t line_ = line_bytes / sizeof(T);
  matrix_view<const T> what_;
  std::size_t lines_a_call_ = 0, row_ = 0, column_ = 0;
};

/// Rows of op(a) as tiles: six rows side by side, depth by depth, one tile after the other; what a last tile lacks is zero.
template <class T> void pack_tiles(op o, matrix_view<const T> a, T* to) {
  const bool plain = o == op::plain;
  const std::size_t rows = plain ? a.rows : a.columns, depth = plain ? a.columns : a.rows, full = rows / rows_a_tile * rows_a_tile;
  vectorised([&] {
    if (plain) {
      for (std::size_t i = 0; i < full; i += rows_a_tile) {
        T* tile = to + i * depth;
        std::size_t k = 0;
        if constexpr (lanes<T> > rows_a_tile) {
          // Each turned vector sticks out into the next depth, which is written after it: so the last is left to the loop below.
          for (; k + lanes<T> < depth; k += lanes<T>) {
            vector<T> square[lanes<T>] = {};
#pragma GCC unroll 8
            for (std::size_t r = 0; r < rows_a_tile; ++r)
              load<T>(square[r], a.row(i + r) + k);
            transpose<T>(square);
#pragma GCC unroll 8
            for (std::size_t d = 0; d < lanes<T>; ++d)
              store<T>(square[d], tile + (k + d) * rows_a_tile);
          }
        }
        for (; k < depth; ++k)
          for (std::size_t r = 0; r < rows_a_tile; ++r)
            tile[k * rows_a_tile + r] = a(i + r, k);
      }
    } else {
      for (std::size_t k = 0; k < depth; ++k) {
        const T* from = a.row(k);
        for (std::size_t i = 0; i < full; i += rows_a_tile)
          std::memcpy(to + i * depth + k * rows_a_tile, from + i, rows_a_tile * sizeof(T));
      }
    }
    T* tile = to + full * depth;
    for (std::size_t k = 0; k < depth && full < rows; ++k)
      for (std::size_t r = 0; r < rows_a_tile; ++r)
        tile[k * rows_a_tile + r] = full + r >= rows ? T(0) : plain ? a(full + r, k) : a(k, full + r);
  });
}

/// One depth of a tile: `Rows` rows by one panel.
template <std::size_t Rows, class T> inline void step(vector<T> (&left)[Rows], vector<T> (&right)[Rows], const T* a, const T* b) {
  vector<T> b0, b1;
  load<T>(b0, b);
  load<T>(b1, b + lanes<T>);
#pragma GCC unroll 6
  for (std::size_t i = 0; i < Rows; ++i) {
    const T x = a[i];
    left[i] += x * b0;
    right[i] += x * b1;
  }
}

/// c = a b + begin for `Rows` rows of a tile and one panel. The sums begin at zero, so that c is on its way while they are made.
template <std::size_t Rows, class T>
inline void multiply_tile(std::size_t depth, const T* a, const T* b, product_begin<T> begin, T* c, std::size_t c_step) {
  constexpr std::size_t width = panel_width<T>;
  vector<T> left[Rows], right[Rows];
#pragma GCC unroll 6
  for (std::size_t i = 0; i < Rows; ++i) {
    left[i] = right[i] = vector<T>{};
    __builtin_prefetch(c + i * c_step, 1);
    __builtin_prefetch(c + i * c_step + width - 1, 1);
  }
  std::size_t k = 0;
  for (; k + unrolled <= depth; k += unrolled, a += unrolled * rows_a_tile, b += unrolled * width) {
#pragma GCC unroll 8
    for (std::size_t d = 0; d < unrolled; ++d)
      step<Rows, T>(left, right, a + d * rows_a_tile, b + d * width);
  }
  for (; k < depth; ++k, a += rows_a_tile, b += width)
    step<Rows, T>(left, right, a, b);
#pragma GCC unroll 6
  for (std::size_t i = 0; i < Rows; ++i) {
    if (begin.first != nullptr) {
      vector<T> b0, b1;
      load<T>(b0, begin.first + i * begin.step);
      load<T>(b1, begin.first + i * begin.step + lanes<T>);
      left[i] += b0, right[i] += b1;
    }
    store<T>(left[i], c + i * c_step);
    store<T>(right[i], c + i * c_step + lanes<T>);
  }
}

// Each height is a function of its own: inlined side by side, their sums would no longer all stay in registers.
template <class T>
void multiply_tile(std::size_t rows, std::size_t depth, const T* a, const T* b, const product_begin<T>& begin, T* c, std::size_t c_step) {
  switch (rows) {
  case 6: return vectorised([&] { multiply_tile<6, T>(depth, a, b, begin, c, c_step); });
  case 5: return vectorised([&] { multiply_tile<5, T>(depth, a, b, begin, c, c_step); });
  case 4: return vectorised([&] { multiply_tile<4, T>(depth, a, b, begin, c, c_step); });
  case 3: return vectorised([&] { multiply_tile<3, T>(depth, a, b, begin, c, c_step); });
  case 2: return vectorised([&] { multiply_tile<2, T>(depth, a, b, begin, c, c_step); });
  default: return vectorised([&] { multiply_tile<1, T>(depth, a, b, begin, c, c_step); });
  }
}

/// A panel that sticks out of c: through a place of full width.
template <class T>
inline void multiply_narrow_tile(std::size_t rows, std::size_t columns, std::size_t depth, const T* a, const T* b, product_begin<T> begin,
                                 T* c, std::size_t c_step) {
  T place[rows_a_tile * panel_width<T>] = {};
  for (std::size_t i = 0; i < rows && begin.first != nullptr; ++i)
    std::copy_n(begin.first + i * begin.step, columns, place + i * panel_width<T>);
  multiply_tile<T>(rows, depth, a, b, {place, panel_width<T>}, place, panel_width<T>);
  for (std::size_t i = 0; i < rows; ++i)
    std::copy_n(place + i * panel_width<T>, columns, c + i * c_step);
}

/// c = tiles * panels + begin, one block of the depth.
template <class T>
void multiply(const T* tiles, const T* panels, std::size_t depth, product_begin<T> begin, matrix_view<T> c, fetcher<T> ahead) {
  for (std::size_t block = 0; block < c.rows; block += rows_a_block) {
    const std::size_t end = std::min(c.rows, block + rows_a_block);
    for (std::size_t j = 0; j < c.columns; j += panel_width<T>) {
      const std::size_t columns = std::min(c.columns - j, panel_width<T>);
      const T* panel = panels + j * depth;
      for (std::size_t i = block; i < end; i += rows_a_tile) {
        ahead.next();
        const std::size_t rows = std::min(end - i, rows_a_tile);
        const product_begin<T> from{begin.first == nullptr ? nullptr : begin.first + i * begin.step + j, begin.step};
        if (columns == panel_width<T>)
          multiply_tile<T>(rows, depth, tiles + i * depth, panel, from, c.row(i) + j, c.stride);
        else
          multiply_narrow_tile<T>(rows, columns, depth, tiles + i * depth, panel, from, c.row(i) + j, c.stride);
      }
    }
  }
}

/// Room that a thread keeps from product to product.
template <class T> T* kept(host_array<T>& room, std::size_t size) {
  if (room.size() < size)
    room = host_array<T>(size);
  return room.data();
}
template <class T> T* room_of_all(std::size_t size) {
  static thread_local host_array<T> room;
  return kept(room, size);
}
template <class T> T* room_of_stretch() {
  static thread_local host_array<T> room;
  return kept(room, depth_a_block * std::max(rows_a_stretch, columns_a_stretch));
}

/// Stretches of at most `longest`, as many for each thread as for the others.
std::size_t stretch_of(std::size_t extent, std::size_t longest, std::size_t multiple) {
  const std::size_t parts = up_to_multiple((extent + longest - 1) / longest, threads());
  return up_to_multiple((extent + parts - 1) / parts, multiple);
}

/// The shared side of a product: `extent` of its rows or columns, whole blocks of the depth one after the other.
struct shared_side {
  std::size_t extent, first, last; ///< depths [first, last)
  std::size_t padded;              ///< extent in whole tiles or panels
  std::size_t blocks() const noexcept { return (last - first + depth_a_block - 1) / depth_a_block; }
  std::size_t at(std::size_t k) const noexcept { return (k - first) * padded; }
};

/// pack(first depth, depth, first row or column, count, to) for every piece of the shared side.
template <class T, class F> void pack_shared(const shared_side& s, std::size_t stretch, T* room, const F& pack) {
  const std::size_t stretches = (s.extent + stretch - 1) / stretch;
  parallel_for(s.blocks() * stretches, [&](std::size_t part) {
    const std::size_t k = s.first + part / stretches * depth_a_block, depth = std::min(s.last - k, depth_a_block);
    const std::size_t i = part % stretches * stretch;
    pack(k, depth, i, std::min(s.extent - i, stretch), room + s.at(k) + i * depth);
  });
}

} // namespace

template <class T>
void block_product(op op_a, op op_b, std::type_identity_t<matrix_view<const T>> a, std::type_identity_t<matrix_view<const T>> b,
                   const std::type_identity_t<product_begin<T>>& begin, matrix_view<T> c) {
  const std::size_t inner = op_a == op::plain ? a.columns : a.rows;
  FLYWHEEL_ASSERT((op_a == op::plain ? a.rows : a.columns) == c.rows && (op_b == op::plain ? b.rows : b.columns) == inner &&
                      (op_b == op::plain ? b.columns : b.rows) == c.columns,
                  "the shapes of a product");
  // The shorter side is packed by all threads for all of them; the longer is cut into stretches, each packed by who multiplies it.
  const bool by_columns = c.columns >= c.rows;
  const std::size_t extent = by_columns ? c.rows : c.columns, padded = up_to_multiple(extent, by_columns ? rows_a_tile : panel_width<T>);
  const std::size_t depth_at_once = std::max(depth_a_block, shared_elements / std::max<std::size_t>(padded, 1) / depth_a_block * depth_a_block);
  const std::size_t longer = by_columns ? c.columns : c.rows;
  const std::size_t stretch = by_columns ? stretch_of(longer, columns_a_stretch, panel_width<T>) : stretch_of(longer, rows_a_stretch, rows_a_tile);
  T* all = room_of_all<T>(std::min(up_to_multiple(inner, depth_a_block), depth_at_once) * padded);

  // At least once: without depth the product is what it begins with.
  for (std::size_t first = 0; first == 0 || first < inner; first += depth_at_once) {
    const shared_side side{extent, first, std::min(inner, first + depth_at_once), padded};
    if (by_columns)
      pack_shared(side, rows_a_stretch, all, [&](std::size_t k, std::size_t depth, std::size_t i, std::size_t count, T* to) {
        pack_tiles<T>(op_a, piece<T>(op_a, a, i, count, k, depth), to);
      });
    else
      pack_shared(side, columns_a_stretch, all, [&](std::size_t k, std::size_t depth, std::size_t j, std::size_t count, T* to) {
        pack<T>(op_b, piece<T>(op_b, b, k, depth, j, count), to);
      });
    parallel_ranges(longer, stretch, [&](std::size_t from, std::size_t to) {
      const std::size_t count = to - from;
      // Who claims this stretch probably claims the one after those that the others work on.
      const std::size_t later = from + stretch * threads(), later_count = later < longer ? std::min(stretch, longer - later) : 0;
      const std::size_t calls = (extent + rows_a_tile - 1) / rows_a_tile * ((count + panel_width<T> - 1) / panel_width<T>);
      T* mine = room_of_stretch<T>();
      for (std::size_t k = first; k == first || k < side.last; k += depth_a_block) {
        const std::size_t depth = std::min(side.last - k, depth_a_block), after = k + depth;
        const bool more = after < side.last;
        const std::size_t next_k = more ? after : first, next_depth = std::min(side.last - next_k, depth_a_block);
        const std::size_t next_from = more ? from : std::min(later, longer), next_count = more ? count : later_count;
        const auto to_c = by_columns ? c.columns_from(from, count) : c.rows_from(from, count);
        const std::size_t offset = by_columns ? from : from * begin.step;
        const product_begin<T> start = k > 0 ? product_begin<T>{to_c.data, c.stride}
                                       : begin.first == nullptr ? begin : product_begin<T>{begin.first + offset, begin.step};
        if (by_columns) {
          pack<T>(op_b, piece<T>(op_b, b, k, depth, from, count), mine);
          multiply<T>(all + side.at(k), mine, depth, start, to_c, {piece<T>(op_b, b, next_k, next_depth, next_from, next_count), calls});
        } else {
          pack_tiles<T>(op_a, piece<T>(op_a, a, from, count, k, depth), mine);
          multiply<T>(mine, all + side.at(k), depth, start, to_c, {piece<T>(op_a, a, next_from, next_count, next_k, next_depth), calls});
        }
      }
    });
  }
}

#define FLYWHEEL_FOR(T)                                                                                                \
  template void block_product<T>(op, op, matrix_view<const T>, matrix_view<const T>, const product_begin<T>&, matrix_view<T>);
FLYWHEEL_FOR(float)
FLYWHEEL_FOR(double)
#undef FLYWHEEL_FOR

} // namespace flywheel::gpu
