// The transformer through an operation table, against the one on the CPU: the same weights, batches and steps. On the host
// always, on a GPU where there is one.

#include "gpu/models/device_transformer.hpp"

#include "tests/gpu/finite_differences.hpp"
#include "tests/gpu/models/random_tokens.hpp"
#include "tests/gpu/opened_device.hpp"

#include <cmath>

using namespace flywheel;
using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

transformer_shape llama(bool tied) {
  transformer_shape s;
  s.vocabulary = 51, s.context = 17, s.layers = 2, s.width = 48, s.heads = 6, s.kv_heads = 2, s.hidden = 40;
  s.tied = tied;
  return s;
}
transformer_shape gpt2() {
  auto s = transformer_shape::gpt2(51, 17, 2, 48, 3);
  s.hidden = 72;
  return s;
}

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

using part = device_transformer::state;

class device_transformers : public on_each_device {
protected:
  std::unique_ptr<device_transformer> on_device(const transformer<float>& network, const device_transformer_options& options) {
    auto made = device_transformer::make(*device, network.shape(), network.parameters(), options);
    EXPECT_TRUE(made) << made.error().to_string();
    return std::move(*made);
  }
  static std::vector<float> numbers(device_transformer& of, part which) {
    std::vector<float> x(of.layout().size());
    const auto read = of.read(which, x);
    EXPECT_TRUE(read) << read.error().to_string();
    return x;
  }
};

/// With weights large enough that no gradient drowns in rounding.
transformer<float> shaken(const transformer_shape& shape) {
  transformer<float> network{shape, 5};
  const auto noise = random_values(network.parameters().size(), 17, 0.1);
  for (std::size_t i = 0; i < noise.size(); ++i)
    network.parameters()[i] += static_cast<float>(noise[i]);
  return network;
}

constexpr device_transformer_options floats{.products = arithmetic::f32, .logits_at_a_time = 56 * 10}; // ten rows of logits at a time

} // namespace

FLYWHEEL_ON_EACH_DEVICE(device_transformers);

TEST_P(device_transformers, loss_and_gradient_are_those_of_the_cpu) {
  for (const auto& shape : {llama(false), llama(true), gpt2()}) {
    const auto network = shaken(shape);
    const tokens data{3, 13, shape.vocabulary};
    transformer_workspace<float> work;
    std::vector<float> expected(network.parameters().size());
    const double loss = network.backward(data.batch(), work, expected);
    auto trained = on_device(network, floats);
    for (int twice = 0; twice < 2; ++twice) { // overwritten, not added to
      ASSERT_TRUE(trained->backward(data.batch()));
      EXPECT_NEAR(trained->take_loss().value(), loss, 1e-5 * loss);
      const auto gradient = numbers(*trained, part::gradient);
      for (const auto& b : network.blocks()) {
        const auto of = [&](std::span<const float> all) { return all.subspan(b.offset, b.size()); };
        EXPECT_LT(apart(of(gradient), of(expected)), 5e-5) << b.name;
      }
    }
    ASSERT_TRUE(trained->forward(data.batch()));
    EXPECT_NEAR(trained->take_loss().value(), loss, 1e-5 * loss) << "forward alone";
  }
}

TEST_P(device_transformers, a_step_in_two_halves_is_the_step) {
  const auto network = shaken(llama(true));
  const tokens data{4, 9, network.shape().vocabulary};
  auto whole = on_device(network, floats), halves = on_device(network, floats);
  ASSERT_TRUE(whole->backward(data.batch()));
  ASSERT_TRUE(halves->backward(data.batch(0, 2), {gradient_write::over, 2}));
  ASSERT_TRUE(halves->backward(data.batch(2, 2), {gradient_write::add, 2}));
  const double loss = whole->take_loss().value();
  EXPECT_NEAR(halves->take_loss().value(), loss, 1e-5 * loss);
  EXPECT_LT(apart(numbers(*halves, part::gradient), numbers(*whole, part::gradient)), 2e-5);
}

TEST_P(device_transformers, every_part_of_the_gradient_is_said_to_be_ready_once) {
  for (const auto& shape : {llama(false), gpt2()}) {
    const auto network = shaken(shape);
    const tokens data{2, 5, shape.vocabulary};
    auto trained = on_device(network, floats);
    std::vector<int> told(network.parameters().size());
    ASSERT_TRUE(trained->backward(data.batch(), {}, [&](std::size_t offset, std::size_t count) {
      for (std::size_t i = offset; i < offset + count; ++i)
        ++told.at(i);
    }));
    EXPECT_EQ(told, std::vector<int>(told.size(), 1));
  }
}

TEST_P(device_transformers, steps_with_clipping_and_decay_are_those_of_the_cpu) {
  auto network = shaken(gpt2());
  auto trained = on_device(network, floats);
  // A key's bias has no gradient but rounding, which a small epsilon would blow up to whole steps.
  const adamw_rule rule{.rate = 1e-3, .decay = 0.1, .norm_max = 0.5, .options = {.beta2 = 0.95, .epsilon = 1e-4}};
  std::vector<float> gradient(network.parameters().size()), moment1(gradient.size()), moment2(gradient.size());
  transformer_workspace<float> work;
  for (std::uint64_t step = 1; step <= 5; ++step) {
    const tokens data{2, 11, network.shape().vocabulary, step};
    const double loss = network.backward(data.batch(), work, gradient);
    const double norm = clip_gradient<float>(gradient, rule.norm_max);
    for (const auto& b : network.blocks()) {
      const auto of = [&](std::span<float> all) { return all.subspan(b.offset, b.size()); };
      adamw<float>(of(network.parameters()), of(gradient), of(moment1), of(moment2), rule.rate, b.decays ? rule.decay : 0, step, rule.options);
    }
    ASSERT_TRUE(trained->backward(data.batch()));
    ASSERT_TRUE(trained->update(step, rule));
    EXPECT_NEAR(trained->take_loss().value(), loss, 2e-5 * loss) << step;
    EXPECT_NEAR(trained->gradient_norm().value(), norm, 1e-4 * norm);
    EXPECT_GT(norm, rule.norm_max) << "clipping was tried";
  }
  EXPECT_LT(apart(numbers(*trained, part::parameters), network.parameters()), 2e-4);
  EXPECT_LT(apart(numbers(*trained, part::moment1), moment1), 2e-4);
}

TEST_P(device_transformers, products_in_bf16_learn_as_floats_do) {
  const auto network = shaken(llama(true));
  auto wide = on_device(network, floats), narrow = on_device(network, {.products = arithmetic::bf16});
  const tokens data{2, 12, network.shape().vocabulary};
  double first = 0, last_wide = 0, last_narrow = 0;
  for (std::uint64_t step = 1; step <= 40; ++step) {
    for (auto* trained : {wide.get(), narrow.get()}) {
      ASSERT_TRUE(trained->backward(data.batch()));
      ASSERT_TRUE(trained->update(step, {.rate = 3e-3}));
    }
    last_wide = wide->take_loss().value(), last_narrow = narrow->take_loss().value();
    if (step == 1) {
      first = last_wide;
      EXPECT_NEAR(last_narrow, first, 0.02 * first) << "eight bits of mantissa";
      EXPECT_NE(last_narrow, first) << "the products did read narrow numbers";
    }
  }
  EXPECT_LT(last_wide, 0.5 * first);
  EXPECT_NEAR(last_narrow, last_wide, 0.05 * first);
}

TEST_P(device_transformers, resumed_from_its_numbers_it_goes_on_to_the_bit) {
  const auto network = shaken(llama(false));
  for (const auto products : {arithmetic::f32, arithmetic::bf16}) {
    auto straight = on_device(network, {.products = products}), resumed = on_device(network, {.products = products});
    const auto run = [&](device_transformer& of, std::uint64_t from, std::uint64_t to) {
      for (std::uint64_t step = from; step <= to; ++step) {
        const tokens data{2, 8, network.shape().vocabulary, step};
        ASSERT_TRUE(of.backward(data.batch()));
        ASSERT_TRUE(of.update(step, {.rate = 1e-2, .decay = 0.1}));
      }
    };
    run(*straight, 1, 3);
    for (const auto which : {part::parameters, part::moment1, part::moment2})
      ASSERT_TRUE(resumed->write(which, numbers(*straight, which)));
    run(*straight, 4, 6);
    run(*resumed, 4, 6);
    EXPECT_EQ(numbers(*resumed, part::parameters), numbers(*straight, part::parameters));
  }
}

TEST_P(device_transformers, batches_of_another_shape_may_follow) {
  const auto network = shaken(gpt2());
  auto trained = on_device(network, floats);
  transformer_workspace<float> work;
  for (const auto& [sequences, time] : {std::pair{3, 13}, {1, 17}, {5, 2}, {3, 13}}) {
    const tokens data{static_cast<std::size_t>(sequences), static_cast<std::size_t>(time), network.shape().vocabulary};
    ASSERT_TRUE(trained->forward(data.batch()));
    const double loss = network.loss(data.batch(), work);
    EXPECT_NEAR(trained->take_loss().value(), loss, 1e-5 * loss);
  }
}

TEST_P(device_transformers, memory_that_does_not_suffice_is_an_error_and_a_smaller_batch_still_trains) {
  const transformer<float> network{llama(true), 5};
  auto trained = on_device(network, floats);
  const std::uint64_t room = device->memory().in_use();
  auto small = compute_device::open(device->operations(), 0, room + 3'000'000).value();
  auto made = device_transformer::make(*small, network.shape(), network.parameters(), floats);
  ASSERT_TRUE(made) << made.error().to_string();
  const tokens large{200, 17, network.shape().vocabulary}, little{2, 17, network.shape().vocabulary};
  const auto refused = (*made)->backward(large.batch());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::out_of_memory) << refused.error().to_string();
  EXPECT_TRUE((*made)->backward(little.batch()));
  EXPECT_TRUE(std::isfinite((*made)->take_loss().value()));
}

TEST_P(device_transformers, widths_that_products_cannot_be_aligned_to_are_refused) {
  auto shape = llama(true);
  shape.hidden = 41;
  const transformer<float> network{shape, 5};
  const auto refused = device_transformer::make(*device, shape, network.parameters());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::invalid_argument);
  EXPECT_NE(refused.error().to_string().find("41"), std::string::npos);
}
