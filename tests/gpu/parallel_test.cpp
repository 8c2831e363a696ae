#include "gpu/parallel.hpp"

#include "gpu/denormals.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <limits>
#include <thread>
#include <vector>

using namespace flywheel::gpu;

namespace {
struct with_threads {
  explicit with_threads(unsigned n) { set_threads(n); }
  ~with_threads() { set_threads(1); }
};
} // namespace

TEST(parallel_for, visits_every_part_once_for_any_number_of_threads) {
  for (const unsigned n : {1u, 2u, 5u}) {
    const with_threads team{n};
    for (const std::size_t parts : {0u, 1u, 2u, 7u, 1000u}) {
      for (int repeat = 0; repeat < 50; ++repeat) {
        std::vector<std::atomic<int>> visits(parts);
        parallel_for(parts, [&](std::size_t i) { ++visits[i]; });
        for (std::size_t i = 0; i < parts; ++i)
          ASSERT_EQ(visits[i], 1) << n << " threads, part " << i << " of " << parts;
      }
    }
  }
}

TEST(parallel_for, inside_itself_and_from_several_threads_at_once) {
  const with_threads team{3};
  std::vector<std::thread> callers;
  std::atomic<std::size_t> sum{0};
  for (int c = 0; c < 3; ++c)
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 100; ++repeat)
        parallel_for(4, [&](std::size_t i) { parallel_for(3, [&](std::size_t j) { sum += 10 * i + j; }); });
    });
  for (auto& c : callers)
    c.join();
  EXPECT_EQ(sum, 3u * 100u * (3 * 60 + 4 * 3));
}

TEST(parallel_ranges, cover_everything_with_the_last_one_short) {
  const with_threads team{2};
  std::vector<int> seen(103);
  parallel_ranges(seen.size(), 10, [&](std::size_t first, std::size_t last) {
    EXPECT_LE(last - first, 10u);
    for (std::size_t i = first; i < last; ++i)
      ++seen[i];
  });
  EXPECT_EQ(seen, std::vector<int>(103, 1));
}

#if defined(__SSE2__)
TEST(parallel_for, helpers_treat_denormals_as_their_caller_does) {
  const with_threads team{4};
  const auto count_zeros = [] {
    std::atomic<int> zeros{0};
    parallel_for(400, [&](std::size_t) {
      volatile float small = std::numeric_limits<float>::min(); // the smallest normal number
      volatile float half = small * 0.5f;
      zeros += half == 0 ? 1 : 0;
    });
    return zeros.load();
  };
  {
    const without_denormals quick;
    EXPECT_EQ(count_zeros(), 400);
  }
  EXPECT_EQ(count_zeros(), 0);
}
#endif
