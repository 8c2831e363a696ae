#include "gpu/models/tabular_network.hpp"

#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/loss.hpp"
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
