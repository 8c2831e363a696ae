// SGD, and the narrow format that weights travel in.

#include "gpu/kernels/bf16.hpp"
#include "gpu/kernels/sgd.hpp"
#include "tests/gpu/finite_differences.hpp"

#include <limits>

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

TEST(sgd, follows_its_formula_for_two_steps) {
  for (const bool nesterov : {false, true}) {
    const std::size_t n = 70'001; // more than one part
    auto w = random_values(n, 1);
    const auto g1 = random_values(n, 2), g2 = random_values(n, 3), start = w;
    std::vector<double> v(n);
    sgd<double>(w, g1, v, 0.1, 0.01, {0.9, nesterov});
    sgd<double>(w, g2, v, 0.2, 0.01, {0.9, nesterov});
    for (const std::size_t i : {std::size_t{0}, n / 2, n - 1}) {
      const double v1 = g1[i], v2 = 0.9 * v1 + g2[i];
      const double w1 = start[i] * (1 - 0.001) - 0.1 * (nesterov ? g1[i] + 0.9 * v1 : v1);
      EXPECT_NEAR(w[i], w1 * (1 - 0.002) - 0.2 * (nesterov ? g2[i] + 0.9 * v2 : v2), 1e-12);
    }
  }
}

TEST(bf16, rounds_to_the_nearest_and_ties_to_even) {
  EXPECT_EQ(to_bf16(1.0f).bits, 0x3F80);
  EXPECT_EQ(to_bf16(-2.0f).bits, 0xC000);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808000u)).bits, 0x3F80);  // half way, even below
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F818000u)).bits, 0x3F82);  // half way, even above
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808001u)).bits, 0x3F81);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7F80);  // to infinity, as IEEE rounding says
  EXPECT_EQ(to_bf16(-std::numeric_limits<float>::infinity()).bits, 0xFF80);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(0x7F800001u))))); // not cut to infinity
  EXPECT_EQ(to_float(to_bf16(-0.0f)), 0.0f);
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const bf16 x{static_cast<std::uint16_t>(bits)};
    if (!std::isnan(to_float(x))) {
      ASSERT_EQ(to_bf16(to_float(x)), x);
    }
  }
}

TEST(bf16, arrays_convert_like_their_elements) {
  const auto values = random_values(100'003, 4, 100);
  const std::vector<float> from(values.begin(), values.end());
  std::vector<bf16> narrow(from.size());
  std::vector<float> back(from.size());
  to_bf16(from, narrow);
  to_float(narrow, back);
  for (std::size_t i = 0; i < from.size(); ++i) {
    ASSERT_EQ(narrow[i], to_bf16(from[i]));
    ASSERT_LE(std::fabs(back[i] - from[i]), std::fabs(from[i]) / 256);
  }
}
