// The tabular network through an operation table, against the one on the CPU: the same weights, rows, masks and steps. On the
// host always, on a GPU where there is one.

#include "gpu/models/device_tabular_network.hpp"

#include "gpu/kernels/loss.hpp"
#include "tests/gpu/finite_differences.hpp"
#include "tests/gpu/opened_device.hpp"

#include <cmath>

using namespace flywheel;
using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

using part = device_tabular_network::state;

/// Numbers with different edges, some missing; categories and outputs of widths that the device has to round up.
struct situation {
  tabular_network_shape shape;
  std::vector<float> numbers;
  std::vector<std::uint32_t> categories, labels;
  std::size_t rows = 29;

  situation() {
    shape.edges = {{-1, 0, 1}, {-2, -1, -0.5, 0.5, 2}, {0, 1}};
    shape.categories = {4, 9, 2};
    shape.numeric_width = 4, shape.category_width_max = 6, shape.hidden = 12, shape.blocks = 2, shape.outputs = 3;
    for (const double x : random_values(rows * 3, 21, 1.5))
      numbers.push_back(static_cast<float>(x));
    numbers[4] = numbers[9] = numbers[17] = std::nanf("");
    for (std::uint32_t i = 0; i < rows; ++i) {
      categories.insert(categories.end(), {i % 4, i * i % 9, i % 2});
      labels.push_back(i * 2 % 3);
    }
  }
  tabular_batch<float> batch() const {
    return {shape.edges.empty() ? matrix_view<const float>{} : matrix_view<const float>{numbers.data(), rows, 3},
            shape.categories.empty() ? matrix_view<const std::uint32_t>{} : matrix_view<const std::uint32_t>{categories.data(), rows, 3}};
  }
  std::vector<situation> all_kinds() const {
    std::vector<situation> kinds(4, *this);
    kinds[1].shape.nonlinearity = activation::gelu;
    kinds[2].shape.categories.clear();
    kinds[3].shape.edges.clear();
    return kinds;
  }
};

/// Largest difference, relative to the largest expected value.
double apart(std::span<const float> actual, std::span<const float> expected) {
  double most = 0, size = 1e-30;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double d = std::fabs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    most = std::isnan(d) ? 1e30 : std::max(most, d);
    size = std::max(size, std::fabs(static_cast<double>(expected[i])));
  }
  return most / size;
}

class device_tabular_networks : public on_each_device {
protected:
  std::unique_ptr<device_tabular_network> on_device(const tabular_network<float>& network) {
    auto made = device_tabular_network::make(*device, network);
    EXPECT_TRUE(made) << made.error().to_string();
    return std::move(*made);
  }
  static std::vector<float> numbers(device_tabular_network& of, part which) {
    std::vector<float> x(of.size());
    const auto read = of.read(which, x);
    EXPECT_TRUE(read) << read.error().to_string();
    return x;
  }
};

} // namespace

FLYWHEEL_ON_EACH_DEVICE(device_tabular_networks);

TEST_P(device_tabular_networks, logits_loss_and_gradient_are_those_of_the_cpu) {
  for (const auto& s : situation{}.all_kinds()) {
    for (const double rate : {0.0, 0.25}) {
      const tabular_network<float> network{s.shape, 5};
      const dropout_plan plan{rate, philox_key{(77ull << 32) + 5}, (1ull << 33) + 3};
      tabular_workspace<float> work;
      network.forward(s.batch(), work, plan);
      const std::vector<float> logits(work.logits.data, work.logits.data + s.rows * 3);
      const double loss = softmax_cross_entropy<float>(work.logits, s.labels);
      std::vector<float> expected(network.parameters().size()), answered(logits.size());
      network.backward(s.batch(), work, plan, expected, gradient_write::over);
      auto trained = on_device(network);
      EXPECT_EQ(numbers(*trained, part::parameters), std::vector<float>(network.parameters().begin(), network.parameters().end()));
      ASSERT_TRUE(trained->forward(s.batch(), plan, answered));
      EXPECT_LT(apart(answered, logits), 5e-6);
      for (int twice = 0; twice < 2; ++twice) { // overwritten, not added to
        ASSERT_TRUE(trained->backward(s.batch(), s.labels, plan));
        EXPECT_NEAR(trained->take_loss().value(), loss, 1e-5 * loss);
        const auto gradient = numbers(*trained, part::gradient);
        for (const auto& b : network.blocks()) {
          const auto of = [&](std::span<const float> all) { return all.subspan(b.offset, b.size()); };
          EXPECT_LT(apart(of(gradient), of(expected)), 2e-5) << b.name;
        }
      }
    }
  }
}

TEST_P(device_tabular_networks, steps_with_clipping_and_decay_are_those_of_the_cpu) {
  const situation s;
  tabular_network<float> network{s.shape, 5};
  auto trained = on_device(network);
  const adamw_rule rule{.rate = 1e-2, .decay = 0.1, .norm_max = 0.05, .options = {.epsilon = 1e-4}};
  std::vector<float> gradient(network.parameters().size()), moment1(gradient.size()), moment2(gradient.size());
  tabular_workspace<float> work;
  for (std::uint64_t step = 1; step <= 10; ++step) {
    const dropout_plan plan{0.1, philox_key{9}, step};
    network.forward(s.batch(), work, plan);
    const double loss = softmax_cross_entropy<float>(work.logits, s.labels);
    network.backward(s.batch(), work, plan, gradient, gradient_write::over);
    EXPECT_GT(clip_gradient<float>(gradient, rule.norm_max), rule.norm_max) << "clipping was tried";
    for (const auto& b : network.blocks()) {
      const auto of = [&](std::span<float> all) { return all.subspan(b.offset, b.size()); };
      adamw<float>(of(network.parameters()), of(gradient), of(moment1), of(moment2), rule.rate, b.decays ? rule.decay : 0, step, rule.options);
    }
    ASSERT_TRUE(trained->backward(s.batch(), s.labels, plan));
    ASSERT_TRUE(trained->update(step, rule));
    EXPECT_NEAR(trained->take_loss().value(), loss, 2e-5 * loss) << step;
  }
  EXPECT_LT(apart(numbers(*trained, part::parameters), network.parameters()), 5e-5);
  EXPECT_LT(apart(numbers(*trained, part::moment1), moment1), 5e-4);
}

TEST_P(device_tabular_networks, batches_of_another_size_may_follow) {
  const situation s;
  const tabular_network<float> network{s.shape, 5};
  auto trained = on_device(network);
  std::vector<float> all(s.rows * 3), one(3);
  ASSERT_TRUE(trained->forward(s.batch(), {}, all));
  ASSERT_TRUE(trained->forward({{s.numbers.data() + 6, 1, 3}, {s.categories.data() + 6, 1, 3}}, {}, one));
  EXPECT_LT(apart(one, std::span<const float>{all}.subspan(6, 3)), 5e-6);
}

TEST_P(device_tabular_networks, widths_that_products_cannot_be_aligned_to_are_refused) {
  situation s;
  s.shape.hidden = 10;
  EXPECT_FALSE(device_tabular_network::make(*device, tabular_network<float>{s.shape, 1}));
  s.shape.hidden = 12, s.shape.numeric_width = 3;
  const auto refused = device_tabular_network::make(*device, tabular_network<float>{s.shape, 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::invalid_argument);
}
