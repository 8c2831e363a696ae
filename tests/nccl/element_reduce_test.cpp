#include "nccl/element_reduce.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

using namespace flywheel;
using namespace flywheel::nccl;

TEST(bf16, table_of_roundings) {
  const struct { float x; std::uint16_t bits; } table[] = {
      {0.0F, 0x0000}, {-0.0F, 0x8000}, {1.0F, 0x3f80}, {-2.0F, 0xc000},
      {std::bit_cast<float>(0x3f808000U), 0x3f80},  // half way: to even, down
      {std::bit_cast<float>(0x3f818000U), 0x3f82},  // half way: to even, up
      {std::bit_cast<float>(0x3f808001U), 0x3f81}, {std::numeric_limits<float>::infinity(), 0x7f80},
      {std::numeric_limits<float>::max(), 0x7f80}}; // rounds up to infinity
  for (const auto& t : table)
    EXPECT_EQ(to_bf16(t.x), t.bits) << t.x;
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7f800001U))))) << "a NaN whose upper half is that of infinity";
}

TEST(bf16, every_pattern_that_is_a_number_reads_back) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const float x = from_bf16(static_cast<std::uint16_t>(bits));
    if (!std::isnan(x)) {
      ASSERT_EQ(to_bf16(x), bits);
    }
  }
}

TEST(element_reduce, two_in_place_give_the_same_bits_as_two_into_a_third_place) {
  random_source random{3};
  for (const std::size_t n : {0U, 1U, 7U, 1023U, 1024U, 1025U, 5000U}) {
    std::vector<float> a(n), b(n), c(n);
    for (std::size_t i = 0; i < n; ++i) {
      a[i] = static_cast<float>(random.normal());
      b[i] = static_cast<float>(random.normal());
    }
    for (const bool swapped : {false, true}) {
      auto x = a, y = b;
      const void* sources[] = {x.data(), y.data()};
      void* apart[] = {c.data()};
      reduce_in_order(element::f32, reduction::avg, sources, apart, n);
      void* in_place[] = {swapped ? y.data() : x.data(), swapped ? x.data() : y.data()};
      reduce_in_order(element::f32, reduction::avg, sources, in_place, n);
      EXPECT_EQ(x, c);
      EXPECT_EQ(y, c);
    }
  }
}

TEST(element_reduce, the_order_of_the_ranks_decides_about_rounding) {
  const float large = 1.0F, small = std::ldexp(1.0F, -24);
  const void* forwards[] = {&large, &small, &small};
  const void* backwards[] = {&small, &small, &large};
  float x = 0, y = 0;
  void *to_x[] = {&x}, *to_y[] = {&y};
  reduce_in_order(element::f32, reduction::sum, forwards, to_x, 1);
  reduce_in_order(element::f32, reduction::sum, backwards, to_y, 1);
  EXPECT_EQ(x, 1.0F);
  EXPECT_EQ(y, 1.0F + std::ldexp(1.0F, -23));
}

TEST(element_reduce, bf16_is_summed_wide_and_rounded_once) {
  const std::uint16_t one = to_bf16(1.0F), small = to_bf16(std::ldexp(1.0F, -9));
  const void* sources[] = {&one, &small, &small, &small, &small};
  std::uint16_t x = 0;
  void* to[] = {&x};
  reduce_in_order(element::bf16, reduction::sum, sources, to, 1);
  EXPECT_EQ(from_bf16(x), 1.0F + std::ldexp(1.0F, -7)) << "rounding after each addition would have stayed at 1";
}
