#include "gpu/models/tabular_network.hpp"

#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/parallel.hpp"
#include "tests/gpu/finite_differences.hpp"

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

struct situation {
  tabular_network_shape shape;
  std::vector<double> numbers;
  std::vector<std::uint32_t> categories, labels;
  std::size_t rows = 9;

  situation() {
    shape.edges = {{-1, 0, 1}, {-2, -1, -0.5, 0.5, 2}, {0, 1}};
    shape.categories = {4, 2};
    shape.numeric_width = 3;
    shape.category_width_max = 3;
    shape.hidden = 7;
    shape.blocks = 2;
    shape.outputs = 3;
    numbers = random_values(rows * 3, 21, 1.5);
    numbers[4] = numbers[9] = numbers[17] = std::nan(""); // one in each column
    for (std::size_t i = 0; i < rows; ++i) {
      categories.push_back(static_cast<std::uint32_t>(i % 4));
      categories.push_back(static_cast<std::uint32_t>(i % 2));
      labels.push_back(static_cast<std::uint32_t>((i * 2) % 3));
    }
  }
  tabular_batch<double> batch() const { return {{numbers.data(), rows, 3}, {categories.data(), rows, 2}}; }
};

} // namespace

TEST(tabular_network, gradient_of_every_parameter_matches_finite_differences) {
  for (const auto f : {activation::relu, activation::gelu}) {
    situation s;
    s.shape.nonlinearity = f;
    tabular_network<double> network{s.shape, 5};
    tabular_workspace<double> work;
    const dropout_plan plan{0.25, philox_key{77}, 3};
    const auto loss = [&] {
      network.forward(s.batch(), work, plan);
      return softmax_cross_entropy(work.logits, s.labels, 0.05);
    };
    loss();
    std::vector<double> gradient(network.parameters().size());
    network.backward(s.batch(), work, plan, gradient);
    for (const auto& block : network.blocks())
      expect_gradient(network.parameters().subspan(block.offset, block.size()),
                      std::span<const double>{gradient}.subspan(block.offset, block.size()), loss, block.name, 1, 2e-5);
  }
}

TEST(tabular_network, overfits_a_handful_of_rows) {
  const situation s;
  tabular_network<double> network{s.shape, 5};
  tabular_workspace<double> work;
  std::vector<double> gradient(network.parameters().size()), m(gradient.size()), v(gradient.size());
  double loss = 0;
  for (std::uint64_t step = 1; step <= 300; ++step) {
    network.forward(s.batch(), work, {});
    loss = softmax_cross_entropy(work.logits, s.labels);
    std::ranges::fill(gradient, 0);
    network.backward(s.batch(), work, {}, gradient);
    adamw<double>(network.parameters(), gradient, m, v, 0.02, 0, step);
  }
  EXPECT_LT(loss, 0.01);
}

TEST(tabular_network, a_row_answers_alike_alone_and_in_company) {
  const situation s;
  const tabular_network<double> network{s.shape, 5};
  tabular_workspace<double> together, alone;
  network.forward(s.batch(), together, {});
  for (std::size_t i = 0; i < s.rows; ++i) {
    network.forward({{s.numbers.data() + 3 * i, 1, 3}, {s.categories.data() + 2 * i, 1, 2}}, alone, {});
    for (std::size_t k = 0; k < 3; ++k)
      EXPECT_NEAR(alone.logits(0, k), together.logits(i, k), 1e-12);
  }
}

TEST(tabular_network, one_workspace_serves_networks_of_different_shapes) {
  situation small, large;
  large.shape.hidden = 64;
  large.shape.numeric_width = 16;
  const tabular_network<double> a{small.shape, 1}, b{large.shape, 2};
  tabular_workspace<double> shared, own;
  for (int i = 0; i < 3; ++i) {
    a.forward(small.batch(), shared, {});
    b.forward(large.batch(), shared, {});
  }
  b.forward(large.batch(), own, {});
  for (std::size_t i = 0; i < large.rows * 3; ++i)
    EXPECT_EQ(shared.logits.data[i], own.logits.data[i]);
}

TEST(tabular_network, numbers_alone_or_categories_alone_will_do) {
  situation s;
  tabular_workspace<double> work;
  auto numbers = s.shape;
  numbers.categories.clear();
  tabular_network<double>{numbers, 1}.forward({{s.numbers.data(), s.rows, 3}, {}}, work, {});
  EXPECT_TRUE(std::isfinite(work.logits(8, 2)));
  auto categories = s.shape;
  categories.edges.clear();
  tabular_network<double>{categories, 1}.forward({{}, {s.categories.data(), s.rows, 2}}, work, {});
  EXPECT_TRUE(std::isfinite(work.logits(8, 2)));
}

namespace {

/// Enough rows for several stretches, the last of them short.
template <class T> struct large_batch {
  static constexpr std::size_t rows = 301;
  situation s;
  std::vector<T> numbers;
  std::vector<std::uint32_t> categories, labels;

  large_batch() {
    for (const double x : random_values(rows * 3, 22, 1.5))
      numbers.push_back(static_cast<T>(x));
    numbers[4] = std::numeric_limits<T>::quiet_NaN();
    for (std::uint32_t i = 0; i < rows; ++i) {
      categories.insert(categories.end(), {i % 4, i % 2});
      labels.push_back(i * 2 % 3);
    }
  }
  tabular_batch<T> batch() const { return {{numbers.data(), rows, 3}, {categories.data(), rows, 2}}; }
  /// The gradient, added to what is there or written over it.
  void backward(std::vector<T>& gradient, gradient_write write, double dropout_rate) const {
    const tabular_network<T> network{s.shape, 5};
    const dropout_plan plan{dropout_rate, philox_key{77}, 3};
    tabular_workspace<T> work;
    gradient.resize(network.parameters().size());
    network.forward(batch(), work, plan);
    softmax_cross_entropy<T>(work.logits, labels);
    network.backward(batch(), work, plan, gradient, write);
  }
};

} // namespace

TEST(tabular_network, gives_the_same_bits_on_any_number_of_threads) {
  const large_batch<float> b;
  for (const double rate : {0.0, 0.25}) {
    std::vector<float> alone;
    b.backward(alone, gradient_write::add, rate);
    for (const unsigned count : {2u, 3u, 7u}) {
      set_threads(count);
      std::vector<float> shared;
      b.backward(shared, gradient_write::add, rate);
      set_threads(1);
      EXPECT_EQ(shared, alone) << count << " threads, dropout " << rate;
    }
  }
}

TEST(tabular_network, adds_to_a_gradient_or_overwrites_it) {
  const large_batch<double> b;
  std::vector<double> once, twice, over(10'000, 7);
  b.backward(once, gradient_write::add, 0.25);
  twice = once;
  b.backward(twice, gradient_write::add, 0.25);
  b.backward(over, gradient_write::over, 0.25);
  EXPECT_EQ(over, once);
  for (std::size_t i = 0; i < once.size(); ++i)
    EXPECT_NEAR(twice[i], 2 * once[i], 1e-12);
}

// As many rows as make more than one stretch: their sums over rows come together from several places.
TEST(tabular_network, gradient_over_several_stretches_of_rows_matches_finite_differences) {
  const large_batch<double> b;
  tabular_network<double> network{b.s.shape, 5};
  tabular_workspace<double> work;
  const auto loss = [&] {
    network.forward(b.batch(), work, {});
    return softmax_cross_entropy<double>(work.logits, b.labels);
  };
  loss();
  std::vector<double> gradient(network.parameters().size());
  network.backward(b.batch(), work, {}, gradient);
  double largest = 0;
  for (std::size_t i = 0; i < gradient.size(); i += 5) {
    double& x = network.parameters()[i];
    const double before = x, h = 1e-6;
    x = before + h;
    const double above = loss();
    x = before - h;
    const double below = loss();
    x = before;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * h), 1e-6);
    largest = std::max(largest, std::fabs(gradient[i]));
  }
  EXPECT_GT(largest, 1e-3);
}
