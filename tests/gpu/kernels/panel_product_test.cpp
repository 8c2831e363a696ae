#include "gpu/kernels/panel_product.hpp"

#include "tests/gpu/finite_differences.hpp"

#include <algorithm>
#include <limits>

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

constexpr double untouched = 1234.5;

/// A matrix in rows that are panel_stride apart, with NaN between them: it must not be seen in any answer.
template <class T> struct padded {
  std::vector<T> room;
  matrix_view<T> view;

  padded(std::size_t rows, std::size_t columns, std::uint64_t seed) : room(rows * panel_stride<T>(columns), std::numeric_limits<T>::quiet_NaN()) {
    view = {room.data(), rows, columns, panel_stride<T>(columns)};
    const auto values = random_values(rows * columns, seed);
    for (std::size_t i = 0; i < rows * columns; ++i)
      view(i / columns, i % columns) = static_cast<T>(values[i]);
  }
  matrix_view<const T> read() const { return view; }
};

template <class T> T element(op o, matrix_view<const T> a, std::size_t i, std::size_t k) { return o == op::plain ? a(i, k) : a(k, i); }

struct extent {
  std::size_t rows, columns, depth;
};

// Every height of a tile, narrow and full panels, and a depth of more than one block.
const std::vector<extent> extents{{1, 1, 1}, {2, 16, 3}, {3, 17, 5}, {4, 8, 2}, {5, 33, 9}, {6, 16, 16}, {7, 20, 4}, {8, 2, 300}, {32, 48, 513}};

} // namespace

template <class T> void expect_products(double bound) {
  for (const auto& [m, n, depth] : extents) {
    for (const auto oa : {op::plain, op::transposed}) {
      for (const auto ob : {op::plain, op::transposed}) {
        const padded<T> a(oa == op::plain ? m : depth, oa == op::plain ? depth : m, 1);
        const padded<T> b(ob == op::plain ? depth : n, ob == op::plain ? n : depth, 2);
        const auto row = random_values(n, 3);
        const std::vector<T> added(row.begin(), row.end());
        std::vector<T> room(packed_size<T>(depth, n));
        std::vector<panels<T>> sides{pack<T>(ob, b.read(), room.data())};
        if (ob == op::plain)
          sides.push_back(as_panels<T>(b.read()));
        for (const auto& side : sides) {
          std::vector<T> c(m * (n + 3), static_cast<T>(untouched));
          const matrix_view<T> to{c.data(), m, n, n + 3};
          panel_product<T>(oa, a.read(), side, added, to);
          panel_product_add<T>(oa, a.read(), side, to);
          for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < n + 3; ++j) {
              double wanted = j < n ? row[j] : untouched;
              for (std::size_t k = 0; k < depth && j < n; ++k)
                wanted += 2 * static_cast<double>(element<T>(oa, a.read(), i, k)) * static_cast<double>(element<T>(ob, b.read(), k, j));
              ASSERT_NEAR(static_cast<double>(c[i * (n + 3) + j]), wanted, bound * std::sqrt(static_cast<double>(depth)))
                  << m << " x " << n << " x " << depth << " at " << i << ", " << j;
            }
          }
        }
      }
    }
  }
}

TEST(panel_product, matches_three_loops_for_every_shape_of_tile) {
  expect_products<double>(1e-13);
  expect_products<float>(1e-5);
}

TEST(panel_product, gives_the_same_bits_however_its_rows_are_divided) {
  const std::size_t m = 37, n = 19, depth = 270;
  const padded<float> a(m, depth, 1), b(depth, n, 2);
  const auto side = as_panels<float>(b.read());
  std::vector<float> whole(m * n), divided(m * n);
  panel_product<float>(op::plain, a.read(), side, {}, {whole.data(), m, n});
  for (const std::size_t stretch : {1u, 4u, 7u, 36u}) {
    const matrix_view<float> c{divided.data(), m, n};
    for (std::size_t first = 0; first < m; first += stretch) {
      const std::size_t count = std::min<std::size_t>(stretch, m - first);
      panel_product<float>(op::plain, a.read().rows_from(first, count), side, {}, c.rows_from(first, count));
    }
    EXPECT_EQ(divided, whole) << "stretches of " << stretch;
  }
}

TEST(panel_product, without_depth_is_the_row_that_is_added) {
  const std::vector<double> row{1, 2, 3};
  std::vector<double> c(6, untouched), room(16);
  panel_product<double>(op::plain, matrix_view<const double>{row.data(), 2, 0, 1}, panels<double>{room.data(), 0, 3, 8, 0}, row, {c.data(), 2, 3});
  EXPECT_EQ(c, (std::vector<double>{1, 2, 3, 1, 2, 3}));
}
