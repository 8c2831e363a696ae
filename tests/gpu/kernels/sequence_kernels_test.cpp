// The operations of a transformer: against plain loops on odd shapes in both precisions, and their gradients against
// finite differences.

#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/attention.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/kernels/rms_norm.hpp"
#include "gpu/kernels/rotary.hpp"
#include "gpu/kernels/swiglu.hpp"
#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"
#include "tests/gpu/finite_differences.hpp"

#include <array>
#include <limits>
#include <numeric>

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

using view = matrix_view<double>;
using reading = matrix_view<const double>;

std::vector<float> floats(const std::vector<double>& x) { return {x.begin(), x.end()}; }

/// Largest difference, relative to the largest value of `expected`.
template <class A, class B> double distance(const A& actual, const B& expected) {
  double most = 0, size = 1e-30;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    most = std::max(most, std::fabs(static_cast<double>(actual[i]) - static_cast<double>(expected[i])));
    size = std::max(size, std::fabs(static_cast<double>(expected[i])));
  }
  return most / size;
}

struct with_threads {
  explicit with_threads(unsigned n) { set_threads(n); }
  ~with_threads() { set_threads(1); }
};

struct attention_case {
  attention_shape shape;
  std::vector<double> qkv, out, log_sum;

  explicit attention_case(attention_shape s, std::uint64_t seed = 1)
      : shape(s), qkv(random_values(s.rows() * width(), seed)), out(s.rows() * q_width()), log_sum(s.heads * s.rows()) {}
  std::size_t q_width() const { return shape.heads * shape.head_width; }
  std::size_t kv_width() const { return shape.kv_heads * shape.head_width; }
  std::size_t width() const { return q_width() + 2 * kv_width(); }
  template <class T> matrix_view<T> all(std::vector<T>& of) const { return {of.data(), shape.rows(), width()}; }
  template <class T> matrix_view<T> q(std::vector<T>& of) const { return all(of).columns_from(0, q_width()); }
  template <class T> matrix_view<T> k(std::vector<T>& of) const { return all(of).columns_from(q_width(), kv_width()); }
  template <class T> matrix_view<T> v(std::vector<T>& of) const { return all(of).columns_from(q_width() + kv_width(), kv_width()); }
  template <class T> matrix_view<T> answer(std::vector<T>& of) const { return {of.data(), shape.rows(), q_width()}; }
  template <class T> matrix_view<T> per_row(std::vector<T>& of) const { return {of.data(), shape.heads, shape.rows()}; }

  template <class T> void run(std::vector<T>& in, std::vector<T>& to, std::vector<T>& sums) const {
    attention_forward<T>(shape, q(in), k(in), v(in), answer(to), per_row(sums));
  }

  /// The definition, with the whole row of scores.
  std::vector<double> plainly() {
    std::vector<double> expected(out.size());
    const auto &s = shape;
    for (std::size_t b = 0; b < s.sequences; ++b)
      for (std::size_t h = 0; h < s.heads; ++h)
        for (std::size_t t = 0; t < s.time; ++t) {
          const std::size_t g = h / (s.heads / s.kv_heads), i = b * s.time + t;
          std::vector<double> p(t + 1);
          double sum = 0;
          for (std::size_t u = 0; u <= t; ++u) {
            for (std::size_t j = 0; j < s.head_width; ++j)
              p[u] += q(qkv)(i, h * s.head_width + j) * k(qkv)(b * s.time + u, g * s.head_width + j);
            sum += p[u] = std::exp(p[u] / std::sqrt(static_cast<double>(s.head_width)));
          }
          for (std::size_t u = 0; u <= t; ++u)
            for (std::size_t j = 0; j < s.head_width; ++j)
              expected[i * q_width() + h * s.head_width + j] += p[u] / sum * v(qkv)(b * s.time + u, g * s.head_width + j);
        }
    return expected;
  }
};

} // namespace

TEST(fast_exp, is_within_two_units_in_the_last_place) {
  double worst = 0;
  for (float x = -87; x < 88; x += 0.00371f) {
    const double e = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(static_cast<double>(fast_exp(x)) / e - 1));
  }
  EXPECT_LT(worst, 2 * 1.2e-7);
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_LT(fast_exp(-std::numeric_limits<float>::infinity()), 1.3e-38f);
  EXPECT_GT(fast_exp(std::numeric_limits<float>::infinity()), 2e38f);
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(rms_norm, rows_have_root_mean_square_one_before_the_gain) {
  const std::size_t rows = 19, width = 37;
  const auto x = random_values(rows * width, 1, 3), gain = random_values(width, 2);
  std::vector<double> y(x.size()), inverse(rows);
  rms_norm_forward<double>(reading{x.data(), rows, width}, gain, view{y.data(), rows, width}, inverse);
  for (std::size_t i = 0; i < rows; ++i) {
    double squares = 0;
    for (std::size_t j = 0; j < width; ++j)
      squares += x[i * width + j] * x[i * width + j];
    for (std::size_t j = 0; j < width; ++j)
      EXPECT_NEAR(y[i * width + j], x[i * width + j] / std::sqrt(squares / width + 1e-5) * gain[j], 1e-12);
  }
  const auto xf = floats(x), gf = floats(gain);
  std::vector<float> yf(x.size()), inverse_f(rows);
  rms_norm_forward<float>({xf.data(), rows, width}, gf, {yf.data(), rows, width}, inverse_f);
  EXPECT_LT(distance(yf, y), 1e-6);
}

TEST(gradient, of_rms_norm_and_what_it_adds_to) {
  const std::size_t rows = 18, width = 13;
  auto x = random_values(rows * width, 1, 3), gain = random_values(width, 2);
  std::vector<double> y(x.size()), inverse(rows), dgain(width);
  const probe p{y.size()};
  const auto f = [&] {
    rms_norm_forward<double>(view{x.data(), rows, width}, gain, view{y.data(), rows, width}, inverse);
    return p.loss(y);
  };
  f();
  auto dy = p.gradient(y);
  const auto before = random_values(x.size(), 8);
  auto sum = before;
  std::vector<double> ignored(width);
  rms_norm_backward<double>(reading{dy.data(), rows, width}, reading{x.data(), rows, width}, gain, inverse,
                            view{sum.data(), rows, width}, ignored, true);
  rms_norm_backward<double>(reading{dy.data(), rows, width}, reading{x.data(), rows, width}, gain, inverse,
                            view{dy.data(), rows, width}, dgain);
  expect_gradient(x, dy, f, "x");
  expect_gradient(gain, dgain, f, "gain");
  for (std::size_t i = 0; i < sum.size(); ++i)
    EXPECT_NEAR(sum[i], before[i] + dy[i], 1e-12);
}

TEST(gradient, of_layer_norm_added_to_what_was_there) {
  const std::size_t rows = 18, width = 13;
  const auto x = random_values(rows * width, 1, 3), gain = random_values(width, 2), shift = random_values(width, 3);
  const auto dy = random_values(x.size(), 4), before = random_values(x.size(), 5);
  std::vector<double> y(x.size()), mean(rows), inverse(rows), dx(x.size()), dgain(width), dshift(width);
  auto sum = before;
  layer_norm_forward<double>(reading{x.data(), rows, width}, gain, shift, view{y.data(), rows, width}, mean, inverse);
  for (const bool add : {false, true})
    layer_norm_backward<double>(reading{dy.data(), rows, width}, reading{x.data(), rows, width}, gain, mean, inverse,
                                view{(add ? sum : dx).data(), rows, width}, dgain, dshift, add);
  for (std::size_t i = 0; i < sum.size(); ++i)
    EXPECT_NEAR(sum[i], before[i] + dx[i], 1e-12);
}

TEST(gradient, of_swiglu) {
  const std::size_t rows = 17, width = 11;
  auto x = random_values(rows * 2 * width, 4, 2);
  std::vector<double> y(rows * width);
  const probe p{y.size()};
  const auto f = [&] {
    swiglu_forward<double>(view{x.data(), rows, 2 * width}, view{y.data(), rows, width});
    return p.loss(y);
  };
  f();
  const auto dy = p.gradient(y);
  auto dx = x;
  swiglu_backward<double>(reading{dy.data(), rows, width}, view{dx.data(), rows, 2 * width});
  expect_gradient(x, dx, f, "gate and up", 1, 1e-5); // small slopes beside a large sum
  EXPECT_NEAR(y[0], x[0] / (1 + std::exp(-x[0])) * x[width], 1e-12);

  auto xf = floats(x);
  const auto dyf = floats(dy);
  std::vector<float> yf(y.size());
  swiglu_forward<float>({xf.data(), rows, 2 * width}, {yf.data(), rows, width});
  swiglu_backward<float>({dyf.data(), rows, width}, {xf.data(), rows, 2 * width});
  f();
  EXPECT_LT(distance(yf, y), 1e-6);
  EXPECT_LT(distance(xf, dx), 1e-6);
}

TEST(activation, of_floats_is_that_of_doubles_to_rounding) {
  const std::size_t rows = 33, width = 29;
  const auto x = random_values(rows * width, 4, 4), dy = random_values(rows * width, 5);
  const auto xf = floats(x), dyf = floats(dy);
  std::vector<double> y(x.size()), dx(x.size());
  std::vector<float> yf(x.size()), dxf(x.size());
  activation_forward<double>(activation::gelu, {x.data(), rows, width}, {y.data(), rows, width});
  activation_backward<double>(activation::gelu, {dy.data(), rows, width}, {x.data(), rows, width}, {dx.data(), rows, width});
  activation_forward<float>(activation::gelu, {xf.data(), rows, width}, {yf.data(), rows, width});
  activation_backward<float>(activation::gelu, {dyf.data(), rows, width}, {xf.data(), rows, width}, {dxf.data(), rows, width});
  EXPECT_LT(distance(yf, y), 1e-6);
  EXPECT_LT(distance(dxf, dx), 1e-6);
}

TEST(rotary, turns_pairs_by_position_and_back) {
  const std::size_t time = 7, sequences = 3, heads = 2, width = 6, rows = time * sequences;
  const rotary_table<double> table{9, width, 100};
  const auto x = random_values(rows * heads * width, 1);
  auto y = x;
  rotary<double>(view{y.data(), rows, heads * width}, time, table, turn::forward);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t h = 0; h < heads; ++h)
      for (std::size_t j = 0; j < width / 2; ++j) {
        const double angle = static_cast<double>(i % time) * std::pow(100.0, -2.0 * static_cast<double>(j) / width);
        const double a = x[(i * heads + h) * width + j], b = x[(i * heads + h) * width + j + width / 2];
        EXPECT_NEAR(y[(i * heads + h) * width + j], a * std::cos(angle) - b * std::sin(angle), 1e-12);
        EXPECT_NEAR(y[(i * heads + h) * width + j + width / 2], b * std::cos(angle) + a * std::sin(angle), 1e-12);
      }
  // A rotation is orthogonal: turning back is the inverse, and the transpose that backward needs.
  rotary<double>(view{y.data(), rows, heads * width}, time, table, turn::back);
  EXPECT_LT(distance(y, x), 1e-14);
}

TEST(attention, equals_its_definition_on_odd_shapes_in_both_precisions) {
  for (const unsigned n : {1u, 3u}) {
    const with_threads team{n};
    for (const auto& s : {attention_shape{1, 1, 1, 1, 1}, {2, 5, 2, 1, 3}, {1, 64, 2, 2, 8}, {2, 65, 6, 2, 5}, {1, 200, 3, 3, 16}}) {
      attention_case c{s, s.time};
      c.run(c.qkv, c.out, c.log_sum);
      const auto expected = c.plainly();
      EXPECT_LT(distance(c.out, expected), 1e-13) << "time " << s.time;
      auto in = floats(c.qkv);
      std::vector<float> out(c.out.size()), sums(c.log_sum.size());
      c.run(in, out, sums);
      EXPECT_LT(distance(out, expected), 3e-6) << "time " << s.time;
    }
  }
}

TEST(attention, holds_for_scores_that_overflow_an_exponential) {
  attention_case c{{1, 70, 1, 1, 4}, 5};
  for (auto& x : c.qkv)
    x *= 30;
  auto in = floats(c.qkv);
  std::vector<float> out(c.out.size()), sums(c.log_sum.size());
  c.run(in, out, sums);
  for (const float x : out)
    ASSERT_TRUE(std::isfinite(x));
}

TEST(gradient, of_attention_across_tiles_and_groups) {
  for (const auto& s : {attention_shape{1, 3, 1, 1, 2}, {2, 6, 4, 2, 3}, {1, 67, 2, 1, 2}, {1, 130, 1, 1, 1}}) {
    attention_case c{s, 3};
    const probe p{c.out.size()};
    const auto f = [&] {
      c.run(c.qkv, c.out, c.log_sum);
      return p.loss(c.out);
    };
    f();
    auto dout = p.gradient(c.out);
    std::vector<double> dqkv(c.qkv.size(), 1e9), work(c.log_sum.size()); // overwritten, not added to
    attention_backward<double>(s, c.answer(dout), c.q(c.qkv), c.k(c.qkv), c.v(c.qkv), c.answer(c.out), c.per_row(c.log_sum),
                               c.q(dqkv), c.k(dqkv), c.v(dqkv), c.per_row(work));
    expect_gradient(c.qkv, dqkv, f, "qkv", s.time > 60 ? 7 : 1, 2e-6);
  }
}

TEST(softmax_cross_entropy, in_chunks_adds_up_to_the_whole) {
  const std::size_t rows = 9, classes = 1003;
  const auto logits = random_values(rows * classes, 1, 4);
  std::vector<std::uint32_t> label(rows);
  for (std::size_t i = 0; i < rows; ++i)
    label[i] = static_cast<std::uint32_t>((i * 331) % classes);
  auto whole = logits, parts = logits;
  auto single = floats(logits);
  const double expected = softmax_cross_entropy<double>({whole.data(), rows, classes}, label);
  double loss = 0;
  for (std::size_t first = 0; first < rows; first += 4) {
    const std::size_t count = std::min<std::size_t>(4, rows - first);
    loss += softmax_cross_entropy<double>({parts.data() + first * classes, count, classes}, std::span(label).subspan(first, count), 0, rows);
  }
  EXPECT_NEAR(loss, expected, 1e-12);
  EXPECT_LT(distance(parts, whole), 1e-14);
  EXPECT_NEAR(softmax_cross_entropy<float>({single.data(), rows, classes}, label), expected, 1e-5);
  EXPECT_LT(distance(single, whole), 1e-5);
}

TEST(gradient_norm, is_the_same_for_any_number_of_threads) {
  const auto g = floats(random_values(200'003, 6));
  const double one = gradient_norm<float>(g);
  const with_threads team{3};
  EXPECT_EQ(gradient_norm<float>(g), one);
  EXPECT_NEAR(one * one, std::inner_product(g.begin(), g.end(), g.begin(), 0.0), 1);
}

TEST(gemm, shared_among_threads_matches_one_thread) {
  const std::size_t m = 211, n = 333, k = 190;
  const auto a = floats(random_values(m * k, 1)), b = floats(random_values(k * n, 2));
  for (const auto oa : {op::plain, op::transposed})
    for (const auto ob : {op::plain, op::transposed})
      for (const bool tall : {false, true}) {
        const std::size_t rows = tall ? n : m, columns = tall ? m : n;
        const auto& left = tall ? b : a;
        const auto& right = tall ? a : b;
        const matrix_view<const float> va{left.data(), oa == op::plain ? rows : k, oa == op::plain ? k : rows};
        const matrix_view<const float> vb{right.data(), ob == op::plain ? k : columns, ob == op::plain ? columns : k};
        std::vector<float> one(rows * columns), many(rows * columns);
        gemm<float>(oa, ob, 1, va, vb, 0, {one.data(), rows, columns});
        const with_threads team{2};
        gemm<float>(oa, ob, 1, va, vb, 0, {many.data(), rows, columns});
        EXPECT_LT(distance(many, one), 1e-5);
      }
}
