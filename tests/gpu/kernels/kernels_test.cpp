// What the operations compute, by hand.

#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/dropout.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/kernels/piecewise_linear.hpp"
#include "tests/gpu/finite_differences.hpp"

#include <algorithm>
#include <limits>

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

TEST(gemm, all_transpositions_match_three_loops_in_strided_views) {
  const std::size_t m = 5, n = 7, k = 3;
  auto a = random_values(100, 1), b = random_values(100, 2);
  for (const auto oa : {op::plain, op::transposed}) {
    for (const auto ob : {op::plain, op::transposed}) {
      const matrix_view<double> va{a.data(), oa == op::plain ? m : k, oa == op::plain ? k : m, 9};
      const matrix_view<double> vb{b.data(), ob == op::plain ? k : n, ob == op::plain ? n : k, 8};
      auto c = random_values(m * 11, 3);
      const auto before = c;
      gemm<double>(oa, ob, 2, va, vb, 0.5, matrix_view<double>{c.data(), m, n, 11});
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < 11; ++j) {
          double sum = 0;
          for (std::size_t t = 0; t < k; ++t)
            sum += (oa == op::plain ? va(i, t) : va(t, i)) * (j < n ? (ob == op::plain ? vb(t, j) : vb(j, t)) : 0);
          EXPECT_NEAR(c[i * 11 + j], j < n ? 2 * sum + 0.5 * before[i * 11 + j] : before[i * 11 + j], 1e-12);
        }
      }
    }
  }
}

TEST(philox, gives_the_published_numbers) {
  // Known answers of the Random123 distribution for philox4x32-10.
  EXPECT_EQ(philox(philox_key{0}, {0, 0, 0, 0}), (philox_block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(philox_key{0xffffffffffffffff}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (philox_block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(philox_key{0x299f31d0a4093822}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (philox_block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(dropout, keeps_the_mean_and_differs_by_step_and_site) {
  const std::size_t n = 200'000;
  const auto mask = [&](std::uint64_t step, std::uint32_t site) {
    std::vector<float> x(n, 1);
    dropout<float>({x.data(), 1, n}, 0.25, {philox_key{7}, step, site});
    return x;
  };
  const auto a = mask(0, 0);
  double sum = 0;
  std::size_t zeros = 0;
  for (const float v : a) {
    sum += static_cast<double>(v);
    zeros += v == 0;
  }
  EXPECT_NEAR(sum / n, 1, 0.01);
  EXPECT_NEAR(static_cast<double>(zeros) / n, 0.25, 0.01);
  EXPECT_EQ(a, mask(0, 0));
  EXPECT_NE(a, mask(1, 0));
  EXPECT_NE(a, mask(0, 1));
  std::vector<float> untouched(9, 3);
  dropout<float>({untouched.data(), 1, 9}, 0, {});
  EXPECT_EQ(untouched, std::vector<float>(9, 3));
}

TEST(dropout, of_a_stretch_of_rows_is_that_part_of_the_whole) {
  // Rows of 11 begin and end within the blocks of 8 that are drawn together; a stride is not counted.
  const std::size_t rows = 9, columns = 11, stride = 16;
  std::vector<float> whole(rows * columns, 1), parts(rows * stride, 1);
  const dropout_site site{philox_key{7}, 5, 2};
  dropout<float>({whole.data(), rows, columns}, 0.4, site);
  for (const auto& [first, count] : {std::pair<std::size_t, std::size_t>{0, 4}, {4, 1}, {5, 4}})
    dropout<float>({parts.data() + first * stride, count, columns, stride}, 0.4, site, first);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < stride; ++j)
      EXPECT_EQ(parts[i * stride + j], j < columns ? whole[i * columns + j] : 1);
  }
}

TEST(activation, by_hand) {
  std::vector<double> x{-2, 0, 1}, y(3);
  activation_forward<double>(activation::relu, matrix_view<double>{x.data(), 1, 3}, {y.data(), 1, 3});
  EXPECT_EQ(y, (std::vector<double>{0, 0, 1}));
  activation_forward<double>(activation::gelu, matrix_view<double>{x.data(), 1, 3}, {y.data(), 1, 3});
  EXPECT_NEAR(y[0], -0.0454023, 1e-6); // torch.nn.functional.gelu(x, approximate="tanh")
  EXPECT_NEAR(y[2], 0.8411920, 1e-6);
}

TEST(layer_norm, gives_mean_zero_and_variance_one) {
  auto x = random_values(3 * 50, 1, 40);
  std::vector<double> y(x.size()), mean(3), deviation(3);
  const std::vector<double> gain(50, 1), shift(50, 0);
  layer_norm_forward<double>(matrix_view<double>{x.data(), 3, 50}, gain, shift, {y.data(), 3, 50}, mean, deviation);
  for (std::size_t i = 0; i < 3; ++i) {
    double sum = 0, squares = 0;
    for (std::size_t j = 0; j < 50; ++j) {
      sum += y[i * 50 + j];
      squares += y[i * 50 + j] * y[i * 50 + j];
    }
    EXPECT_NEAR(sum, 0, 1e-10);
    EXPECT_NEAR(squares / 50, 1, 1e-6);
  }
}

TEST(piecewise_linear, is_continuous_and_constant_beyond_the_edges) {
  const std::vector<double> edges{0, 1, 3};
  std::vector<double> slope{10, -4}, bias{1}, absent{-7}, work;
  const auto at = [&](double x) {
    double y = 0;
    piecewise_linear_forward<double>(&x, 1, edges, {matrix_view<double>{slope.data(), 2, 1}, bias, absent}, {&y, 1, 1}, work);
    return y;
  };
  EXPECT_EQ(at(-100), 1);
  EXPECT_EQ(at(0), 1);
  EXPECT_EQ(at(0.5), 6);
  EXPECT_EQ(at(1), 11);
  EXPECT_EQ(at(2), 9);
  EXPECT_EQ(at(3), 7);
  EXPECT_EQ(at(100), 7);
  EXPECT_EQ(at(std::nan("")), -7);
}

TEST(piecewise_linear, finds_the_segment_among_any_number_of_them) {
  std::vector<double> work;
  for (std::size_t segments = 1; segments <= 33; ++segments) {
    std::vector<double> edges{-3};
    const auto widths = random_values(segments, segments);
    for (const double w : widths)
      edges.push_back(edges.back() + 0.1 + std::fabs(w));
    // Slopes as long as their segments, from the first edge on: the answer is x itself, held to the edges.
    std::vector<double> slope;
    for (std::size_t k = 0; k < segments; ++k)
      slope.push_back(edges[k + 1] - edges[k]);
    std::vector<double> x{-100, 100, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
    for (std::size_t k = 0; k <= segments; ++k)
      x.insert(x.end(), {edges[k], edges[k] - 1e-6, edges[k] + 1e-6});
    const std::vector<double> bias{edges[0]}, absent{0};
    std::vector<double> y(x.size());
    piecewise_linear_forward<double>(x.data(), 1, edges, {matrix_view<const double>{slope.data(), segments, 1}, bias, absent},
                                     {y.data(), x.size(), 1}, work);
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(y[i], std::clamp(x[i], edges.front(), edges.back()), 1e-12) << segments << " segments";
  }
}

TEST(loss, by_hand_and_without_overflow) {
  std::vector<double> x{0, 0, 1000, -1000};
  const std::vector<std::uint32_t> label{0, 1};
  EXPECT_NEAR(softmax_cross_entropy<double>({x.data(), 2, 2}, label), (std::log(2.0) + 2000) / 2, 1e-9);
  EXPECT_NEAR(x[0], -0.25, 1e-12);
  EXPECT_NEAR(x[2], 0.5, 1e-12);
  std::vector<double> v{3};
  EXPECT_EQ(squared_error<double>({v.data(), 1, 1}, std::vector<double>{1}), 2);
}

TEST(adamw, first_step_and_decay_by_hand) {
  // After bias correction the first step has length `rate` against the gradient's sign, whatever its size.
  std::vector<double> w{1, 1, 1}, m(3), v(3);
  const std::vector<double> g{0.5, -20, 0};
  adamw<double>(w, g, m, v, 0.1, 0, 1);
  EXPECT_NEAR(w[0], 0.9, 1e-7);
  EXPECT_NEAR(w[1], 1.1, 1e-7);
  EXPECT_EQ(w[2], 1);
  adamw<double>(w, std::vector<double>{0, 0, 0}, m, v, 0.1, 0.5, 2);
  EXPECT_NEAR(w[2], 0.95, 1e-12); // decay alone: 1 - rate * decay
}

TEST(clip_gradient, shortens_only_what_is_too_long) {
  std::vector<double> g{3, 4};
  EXPECT_EQ(clip_gradient<double>(g, 10), 5);
  EXPECT_EQ(g, (std::vector<double>{3, 4}));
  EXPECT_EQ(clip_gradient<double>(g, 1), 5);
  EXPECT_NEAR(g[0], 0.6, 1e-12);
  EXPECT_NEAR(g[1], 0.8, 1e-12);
}
