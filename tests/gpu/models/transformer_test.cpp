#include "gpu/models/transformer.hpp"

#include "gpu/parallel.hpp"
#include "tests/gpu/finite_differences.hpp"
#include "tests/gpu/models/random_tokens.hpp"

#include <cmath>

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

transformer_shape llama(bool tied = false) {
  transformer_shape s;
  s.vocabulary = 11, s.context = 9, s.layers = 2, s.width = 12, s.heads = 6, s.kv_heads = 2, s.hidden = 7;
  s.tied = tied;
  return s;
}

transformer_shape gpt2() {
  auto s = transformer_shape::gpt2(11, 9, 2, 12, 3);
  s.hidden = 10;
  return s;
}

/// Large enough that no gradient drowns in rounding.
template <class T> void shake(transformer<T>& network) {
  const auto noise = random_values(network.parameters().size(), 17, 0.3);
  for (std::size_t i = 0; i < noise.size(); ++i)
    network.parameters()[i] += static_cast<T>(noise[i]);
}

} // namespace

TEST(gradient, of_every_parameter_of_a_transformer) {
  for (const auto& shape : {llama(), llama(true), gpt2()}) {
    transformer<double> network{shape, 5};
    shake(network);
    const tokens data{2, 7, shape.vocabulary};
    transformer_workspace<double> work;
    std::vector<double> gradient(network.parameters().size(), 1e9); // overwritten, not added to
    const double loss = network.backward(data.batch(), work, gradient);
    EXPECT_DOUBLE_EQ(loss, network.loss(data.batch(), work));
    for (const auto& b : network.blocks()) {
      if (b.size() == 0)
        continue;
      if (b.name == "position.table") { // only the first `time` rows are seen
        for (std::size_t i = data.time * b.columns; i < b.size(); ++i)
          EXPECT_EQ(gradient[b.offset + i], 0);
      }
      expect_gradient(network.parameters().subspan(b.offset, b.size()), std::span(gradient).subspan(b.offset, b.size()),
                      [&] { return network.loss(data.batch(), work); }, b.name, std::max<std::size_t>(1, b.size() / 11), 2e-5);
    }
  }
}

TEST(transformer, gradients_of_batches_accumulate_to_that_of_their_union) {
  const auto shape = llama();
  transformer<double> network{shape, 1};
  shake(network);
  const tokens whole{4, 6, shape.vocabulary};
  transformer_workspace<double> work;
  std::vector<double> expected(network.parameters().size()), sum(expected.size());
  const double loss = network.backward(whole.batch(), work, expected);
  double losses = 0;
  for (std::size_t part = 0; part < 2; ++part) {
    const auto half = [&](const std::vector<std::uint32_t>& of) { return std::span(of).subspan(part * 12, 12); };
    losses += network.backward({half(whole.token), half(whole.next), 2, 6}, work, sum,
                               {part == 0 ? gradient_write::over : gradient_write::add, 2});
  }
  EXPECT_NEAR(losses / 2, loss, 1e-12);
  for (std::size_t i = 0; i < sum.size(); ++i)
    ASSERT_NEAR(sum[i], expected[i], 1e-12) << i;
}

TEST(transformer, logits_in_chunks_give_the_gradient_of_the_whole) {
  for (const auto& shape : {llama(), gpt2()}) {
    transformer<double> network{shape, 1};
    shake(network);
    const tokens data{2, 7, shape.vocabulary};
    transformer_workspace<double> whole, chunks{3 * shape.vocabulary + 1}; // 14 rows as 3, 3, 3, 3 and 2
    std::vector<double> expected(network.parameters().size()), gradient(expected.size(), 1e9);
    const double loss = network.backward(data.batch(), whole, expected);
    EXPECT_NEAR(network.backward(data.batch(), chunks, gradient), loss, 1e-12);
    EXPECT_LT(chunks.bytes(), whole.bytes());
    for (std::size_t i = 0; i < gradient.size(); ++i)
      ASSERT_NEAR(gradient[i], expected[i], 1e-12) << i;
  }
}

TEST(transformer, no_answer_looks_ahead) {
  for (const auto& shape : {llama(), gpt2()}) {
    transformer<double> network{shape, 2};
    shake(network);
    tokens data{1, 8, shape.vocabulary};
    transformer_workspace<double> work;
    std::vector<double> before(8 * shape.vocabulary), after(before.size());
    network.logits(data.batch(), work, {before.data(), 8, shape.vocabulary});
    data.token[5] = (data.token[5] + 1) % shape.vocabulary;
    network.logits(data.batch(), work, {after.data(), 8, shape.vocabulary});
    for (std::size_t i = 0; i < 5 * shape.vocabulary; ++i)
      ASSERT_EQ(before[i], after[i]);
    EXPECT_NE(before.back(), after.back());
  }
}

TEST(transformer, says_of_each_parameter_once_when_its_gradient_is_complete) {
  for (const auto& shape : {llama(), llama(true), gpt2()}) {
    transformer<double> network{shape, 3};
    const tokens data{2, 5, shape.vocabulary};
    transformer_workspace<double> work;
    const std::size_t size = network.parameters().size();
    std::vector<double> gradient(size), seen(size), expected(size);
    std::vector<int> times(size);
    network.backward(data.batch(), work, expected);
    network.backward(data.batch(), work, gradient, {}, [&](std::size_t offset, std::size_t count) {
      for (std::size_t i = offset; i < offset + count; ++i) {
        ++times[i];
        seen[i] = gradient[i];
        network.parameters()[i] = 1e30; // no longer read
      }
    });
    EXPECT_EQ(times, std::vector<int>(size, 1));
    EXPECT_EQ(seen, expected);
  }
}

TEST(transformer, starts_out_knowing_nothing) {
  auto shape = llama();
  shape.vocabulary = 100;
  transformer<float> network{shape, 1};
  const tokens data{3, 9, 100};
  transformer_workspace<float> work;
  EXPECT_NEAR(network.loss(data.batch(), work), std::log(100), 0.05);
}

TEST(transformer, gives_the_same_bits_on_any_number_of_threads) {
  auto shape = llama();
  shape.context = 80;
  transformer<float> network{shape, 4};
  const tokens data{3, 80, shape.vocabulary};
  std::vector<float> one(network.parameters().size()), three(one.size());
  transformer_workspace<float> work;
  const double loss = network.backward(data.batch(), work, one);
  set_threads(3);
  EXPECT_EQ(network.backward(data.batch(), work, three), loss);
  set_threads(1);
  EXPECT_EQ(one, three);
}

TEST(transformer, of_gpt2s_smallest_shape_has_its_number_of_parameters) {
  const auto s = transformer_shape::gpt2(50257, 1024, 12, 768, 12);
  EXPECT_TRUE(s.consistent());
  EXPECT_EQ(s.parameter_count(), 124'439'808u); // as its authors' weights count
}

TEST(transformer_shape, refuses_numbers_that_do_not_fit_together) {
  auto s = llama();
  EXPECT_TRUE(s.consistent());
  s.kv_heads = 4; // does not divide 6
  EXPECT_FALSE(s.consistent());
  s = llama(), s.heads = 5;
  EXPECT_FALSE(s.consistent());
  s = llama(), s.heads = s.kv_heads = 12, s.position = positions::learnt; // heads one wide: fine, but not in pairs
  EXPECT_TRUE(s.consistent());
  s.position = positions::rotary;
  EXPECT_FALSE(s.consistent());
}
