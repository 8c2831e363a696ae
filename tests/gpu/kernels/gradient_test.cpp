// Every operation's backward against finite differences, on odd shapes.

#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/dropout.hpp"
#include "gpu/kernels/embedding.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/linear.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/kernels/piecewise_linear.hpp"
#include "tests/gpu/finite_differences.hpp"

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {
using view = matrix_view<double>;
using reading = matrix_view<const double>;
} // namespace

TEST(gradient, of_linear) {
  for (const auto [rows, in, out] : {std::array<std::size_t, 3>{1, 1, 1}, {3, 5, 7}, {17, 33, 9}}) {
    auto x = random_values(rows * in, 1), w = random_values(in * out, 2), b = random_values(out, 3);
    std::vector<double> y(rows * out), dx(x.size()), dw(w.size()), db(b.size());
    const probe p{y.size()};
    const auto f = [&] {
      linear_forward<double>(view{x.data(), rows, in}, view{w.data(), in, out}, b, view{y.data(), rows, out});
      return p.loss(y);
    };
    f();
    auto dy = p.gradient(y);
    linear_backward<double>(view{dy.data(), rows, out}, view{x.data(), rows, in}, view{w.data(), in, out},
                            view{dx.data(), rows, in}, view{dw.data(), in, out}, db);
    expect_gradient(x, dx, f, "x");
    expect_gradient(w, dw, f, "w");
    expect_gradient(b, db, f, "b");
  }
}

TEST(gradient, of_layer_norm) {
  const std::size_t rows = 5, width = 13;
  auto x = random_values(rows * width, 1, 3), gain = random_values(width, 2), shift = random_values(width, 3);
  std::vector<double> y(x.size()), mean(rows), deviation(rows), dgain(width), dshift(width);
  const probe p{y.size()};
  const auto f = [&] {
    layer_norm_forward<double>(view{x.data(), rows, width}, gain, shift, view{y.data(), rows, width}, mean, deviation);
    return p.loss(y);
  };
  f();
  auto dy = p.gradient(y);
  const view in_place{dy.data(), rows, width}; // dx may be dy's own storage
  layer_norm_backward<double>(in_place, view{x.data(), rows, width}, gain, mean, deviation, in_place, dgain, dshift);
  expect_gradient(x, dy, f, "x");
  expect_gradient(gain, dgain, f, "gain");
  expect_gradient(shift, dshift, f, "shift");
}

TEST(gradient, of_activations) {
  for (const auto kind : {activation::relu, activation::gelu}) {
    auto x = random_values(60, 4, 2);
    std::vector<double> y(x.size()), dx(x.size());
    const probe p{y.size()};
    const auto f = [&] {
      activation_forward<double>(kind, view{x.data(), 6, 10}, view{y.data(), 6, 10});
      return p.loss(y);
    };
    f();
    auto dy = p.gradient(y);
    activation_backward<double>(kind, view{dy.data(), 6, 10}, view{x.data(), 6, 10}, view{dx.data(), 6, 10});
    expect_gradient(x, dx, f, kind == activation::relu ? "relu" : "gelu");
  }
}

TEST(gradient, of_dropout_uses_the_mask_of_forward) {
  auto x = random_values(7 * 11, 5);
  const dropout_site site{philox_key{123}, 9, 2};
  const probe p{x.size()};
  std::vector<double> y;
  const auto f = [&] {
    y = x;
    dropout<double>(view{y.data(), 7, 11}, 0.3, site);
    return p.loss(y);
  };
  f();
  auto dy = p.gradient(y);
  dropout<double>(view{dy.data(), 7, 11}, 0.3, site);
  expect_gradient(x, dy, f, "x");
}

TEST(gradient, of_embedding) {
  const std::vector<std::uint32_t> index{2, 0, 2, 4};
  auto table = random_values(5 * 3, 6);
  std::vector<double> y(4 * 3), dtable(table.size());
  const probe p{y.size()};
  const auto f = [&] {
    embedding_forward<double>(index, view{table.data(), 5, 3}, view{y.data(), 4, 3});
    return p.loss(y);
  };
  f();
  auto dy = p.gradient(y);
  embedding_backward<double>(index, view{dy.data(), 4, 3}, view{dtable.data(), 5, 3});
  expect_gradient(table, dtable, f, "table");
}

TEST(gradient, of_piecewise_linear_with_missing_and_outlying_values) {
  const std::vector<double> edges{-1.5, -0.2, 0.1, 2};
  const std::vector<double> x{-9, -1.5, -0.7, -0.2, 0, 0.05, 0.1, 1.9, 2, 50, std::nan(""), -0.3};
  const std::size_t width = 5, segments = 3;
  auto slope = random_values(segments * width, 1), bias = random_values(width, 2), absent = random_values(width, 3);
  std::vector<double> y(x.size() * width), work, dslope(slope.size()), dbias(width), dabsent(width);
  const probe p{y.size()};
  const auto f = [&] {
    piecewise_linear_forward<double>(x.data(), 1, edges, {view{slope.data(), segments, width}, bias, absent},
                                     view{y.data(), x.size(), width}, work);
    return p.loss(y);
  };
  f();
  auto dy = p.gradient(y);
  piecewise_linear_backward<double>(x.data(), 1, edges, view{dy.data(), x.size(), width},
                                    {view{dslope.data(), segments, width}, dbias, dabsent}, work);
  expect_gradient(slope, dslope, f, "slope");
  expect_gradient(bias, dbias, f, "bias");
  expect_gradient(absent, dabsent, f, "absent");
}

TEST(gradient, of_cross_entropy_with_and_without_smoothing) {
  const std::vector<std::uint32_t> label{2, 0, 1, 2};
  for (const double smoothing : {0.0, 0.1}) {
    auto x = random_values(4 * 3, 7, 2);
    const auto f = [&] {
      auto scratch = x;
      return softmax_cross_entropy<double>(view{scratch.data(), 4, 3}, label, smoothing);
    };
    auto gradient = x;
    softmax_cross_entropy<double>(view{gradient.data(), 4, 3}, label, smoothing);
    expect_gradient(x, gradient, f, "logits");
  }
}

TEST(gradient, of_squared_error) {
  auto x = random_values(6, 8);
  const auto wanted = random_values(6, 9);
  const auto f = [&] {
    auto scratch = x;
    return squared_error<double>(view{scratch.data(), 6, 1}, wanted);
  };
  auto gradient = x;
  squared_error<double>(view{gradient.data(), 6, 1}, wanted);
  expect_gradient(x, gradient, f, "value");
}
