#include "cluster/transfer/curve_keys.hpp"

#include <gtest/gtest.h>

using namespace flywheel::transfer;

TEST(curve_keys, each_pair_is_another_and_only_its_public_half_passes_for_a_key) {
  const auto a = curve_keys::make(), b = curve_keys::make();
  ASSERT_TRUE(a && b);
  EXPECT_TRUE(is_public_key(a->public_key()));
  EXPECT_EQ(a->secret_key().size(), 40U);
  EXPECT_NE(a->public_key(), b->public_key());
  EXPECT_NE(a->public_key(), a->secret_key());
  for (const auto* bad : {"", "short", "0123456789012345678901234567890123456789x", "012345678901234567890123456789012345678\n", "\"123456789012345678901234567890123456789"})
    EXPECT_FALSE(is_public_key(bad)) << bad;
}
