#include "gpu/host_array.hpp"

#include <cstdint>
#include <gtest/gtest.h>
#include <numeric>
#include <utility>

using flywheel::gpu::host_array;

TEST(host_array, is_zero_aligned_and_moves) {
  for (const std::size_t size : {1u, 17u, 600'001u}) {
    host_array<float> a{size};
    EXPECT_EQ(a.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data()) % (size > 600'000 ? std::size_t{2} << 20 : 64), 0u);
    EXPECT_EQ(std::accumulate(a.span().begin(), a.span().end(), 0.0f), 0.0f);
    a.span()[size - 1] = 3;
    const host_array<float> b = std::move(a);
    EXPECT_EQ(b.span()[size - 1], 3.0f);
  }
  EXPECT_EQ(host_array<float>{}.size(), 0u);
  EXPECT_TRUE(host_array<double>(0).span().empty());
}
