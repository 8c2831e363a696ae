#include "gpu/kernels/block_product.hpp"

#include "gpu/parallel.hpp"
#include "tests/gpu/finite_differences.hpp"

#include <limits>

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

constexpr double untouched = 1234.5;

/// A matrix in rows three elements further apart than it is wide, with NaN between them: it must not be seen in any answer.
template <class T> struct padded {
  std::vector<T> room;
  matrix_view<T> view;

  padded(std::size_t rows, std::size_t columns, std::uint64_t seed) : room(rows * (columns + 3), std::numeric_limits<T>::quiet_NaN()) {
    view = {room.data(), rows, columns, columns + 3};
    const auto values = random_values(rows * columns, seed);
    for (std::size_t i = 0; i < rows * columns; ++i)
      view(i / columns, i % columns) = static_cast<T>(values[i]);
  }
  matrix_view<const T> read() const { return view; }
};

template <class T> double element(op o, matrix_view<const T> a, std::size_t i, std::size_t k) {
  return static_cast<double>(o == op::plain ? a(i, k) : a(k, i));
}

struct extent {
  std::size_t rows, columns, depth;
};

// Every height of a tile, narrow and full panels, no depth and more than one block of it, more rows than a block, more
// columns than a stretch, both for the longer side.
const std::vector<extent> extents{{1, 1, 1},   {2, 16, 3},     {3, 17, 5},    {4, 8, 2},    {5, 33, 9},  {6, 16, 256}, {7, 20, 4},
                                  {8, 2, 300}, {200, 230, 19}, {401, 35, 31}, {9, 321, 40}, {32, 48, 513}, {5, 7, 0}};

template <class T> void expect_products(double bound) {
  for (const auto& [m, n, depth] : extents) {
    for (const auto oa : {op::plain, op::transposed}) {
      for (const auto ob : {op::plain, op::transposed}) {
        const padded<T> a(oa == op::plain ? m : depth, oa == op::plain ? depth : m, 1);
        const padded<T> b(ob == op::plain ? depth : n, ob == op::plain ? n : depth, 2);
        const padded<T> added(m, n, 3);
        for (const int beginning : {0, 1, 2, 3}) { // zero, a row, another matrix, c itself
          std::vector<T> c(m * (n + 5), static_cast<T>(untouched));
          const matrix_view<T> to{c.data(), m, n, n + 5};
          for (std::size_t i = 0; i < m; ++i)
            std::copy_n(added.read().row(i), n, to.row(i));
          const product_begin<T> begin = beginning == 0   ? product_begin<T>{}
                                         : beginning == 1 ? product_begin<T>{added.view.data, 0}
                                         : beginning == 2 ? product_begin<T>{added.view.data, added.view.stride}
                                                          : product_begin<T>{to.data, to.stride};
          block_product<T>(oa, ob, a.read(), b.read(), begin, to);
          for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < n + 5; ++j) {
              double wanted = j >= n ? untouched : beginning == 0 ? 0 : static_cast<double>(added.view(beginning == 1 ? 0 : i, j));
              for (std::size_t k = 0; k < depth && j < n; ++k)
                wanted += element<T>(oa, a.read(), i, k) * element<T>(ob, b.read(), k, j);
              ASSERT_NEAR(static_cast<double>(c[i * (n + 5) + j]), wanted, bound * std::sqrt(static_cast<double>(depth + 1)))
                  << m << " x " << n << " x " << depth << " at " << i << ", " << j << ", beginning " << beginning;
            }
          }
        }
      }
    }
  }
}

} // namespace

TEST(block_product, matches_three_loops_for_every_shape_of_tile) {
  expect_products<double>(1e-13);
  expect_products<float>(1e-5);
}

// 150,000 deep: more than the shared side's room holds at once (4 million elements), twice over.
TEST(block_product, goes_through_a_depth_that_does_not_fit_at_once) {
  for (const auto& [m, n] : {std::pair<std::size_t, std::size_t>{60, 65}, {65, 60}}) {
    const std::size_t depth = 150000;
    const padded<double> a(m, depth, 1), b(n, depth, 2);
    std::vector<double> c(m * n);
    block_product<double>(op::plain, op::transposed, a.read(), b.read(), {}, matrix_view<double>{c.data(), m, n});
    for (std::size_t i = 0; i < m; i += 7) {
      for (std::size_t j = 0; j < n; ++j) {
        double wanted = 0;
        for (std::size_t k = 0; k < depth; ++k)
          wanted += a.view(i, k) * b.view(j, k);
        ASSERT_NEAR(c[i * n + j], wanted, 1e-10) << i << ", " << j;
      }
    }
  }
}

TEST(block_product, gives_the_same_bits_for_any_number_of_threads) {
  for (const auto& [m, n] : {std::pair<std::size_t, std::size_t>{70, 500}, {500, 70}}) {
    const std::size_t depth = 600;
    const padded<float> a(m, depth, 1), b(depth, n, 2);
    std::vector<std::vector<float>> answers;
    for (const unsigned count : {1u, 2u, 3u}) {
      set_threads(count);
      answers.emplace_back(m * n);
      block_product<float>(op::plain, op::plain, a.read(), b.read(), {}, matrix_view<float>{answers.back().data(), m, n});
    }
    set_threads(1);
    EXPECT_EQ(answers[0], answers[1]);
    EXPECT_EQ(answers[0], answers[2]);
  }
}
