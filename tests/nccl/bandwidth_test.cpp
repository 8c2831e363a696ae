#include "nccl/bandwidth.hpp"

#include <gtest/gtest.h>

using namespace flywheel::nccl;

TEST(bandwidth, table_of_factors) { // the tables of nccl-tests' PERFORMANCE.md
  const struct { collective what; int ranks; double factor; } table[] = {
      {collective::all_reduce, 2, 1.0},          {collective::all_reduce, 4, 1.5},    {collective::all_reduce, 8, 1.75},
      {collective::reduce_scatter, 2, 0.5},      {collective::reduce_scatter, 8, 0.875}, {collective::all_gather, 4, 0.75},
      {collective::broadcast, 2, 1.0},           {collective::broadcast, 8, 1.0},     {collective::barrier, 8, 0.0},
      {collective::all_reduce, 1, 0.0},          {collective::broadcast, 1, 0.0},     {collective::all_gather, 0, 0.0}};
  for (const auto& t : table)
    EXPECT_DOUBLE_EQ(bus_factor(t.what, t.ranks), t.factor) << name_of(t.what) << " of " << t.ranks;
}

TEST(bandwidth, an_all_reduce_is_a_reduce_scatter_and_an_all_gather) {
  for (int n = 2; n <= 256; ++n)
    EXPECT_DOUBLE_EQ(bus_factor(collective::all_reduce, n),
                     bus_factor(collective::reduce_scatter, n) + bus_factor(collective::all_gather, n));
}

TEST(bandwidth, time_and_bandwidth_are_inverse) {
  EXPECT_DOUBLE_EQ(algorithm_bandwidth(1'000'000'000, 0.5), 2e9);
  EXPECT_DOUBLE_EQ(bus_bandwidth(collective::all_reduce, 4, 1'000'000'000, 0.5), 3e9);
  const double t = expected_seconds(collective::all_gather, 4, 1'000'000, 1e9);
  EXPECT_DOUBLE_EQ(bus_bandwidth(collective::all_gather, 4, 1'000'000, t), 1e9);
}
