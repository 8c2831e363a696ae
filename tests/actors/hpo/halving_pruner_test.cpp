#include "actors/hpo/halving_pruner.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace flywheel {
namespace {
using rungs = std::vector<std::uint32_t>;

TEST(make_rungs, divides_by_eta_down_to_the_least) {
  EXPECT_EQ(make_rungs(81, 1, 3), (rungs{1, 3, 9, 27, 81}));
  EXPECT_EQ(make_rungs(300, 20, 3), (rungs{33, 100, 300}));
  EXPECT_EQ(make_rungs(300, 33, 3), (rungs{33, 100, 300}));
  EXPECT_EQ(make_rungs(300, 34, 3), (rungs{100, 300}));
  EXPECT_EQ(make_rungs(4, 1, 2), (rungs{1, 2, 4}));
  EXPECT_EQ(make_rungs(5, 9, 3), (rungs{5}));
  EXPECT_EQ(make_rungs(5, 1, 1), (rungs{5}));
  EXPECT_EQ(make_rungs(1, 0, 3), (rungs{1}));
  EXPECT_EQ(make_rungs(0, 0, 3), (rungs{1}));
  const auto big = make_rungs(std::numeric_limits<std::uint32_t>::max(), 1, 2);
  EXPECT_EQ(big.back(), std::numeric_limits<std::uint32_t>::max());
  for (std::size_t i = 1; i < big.size(); ++i)
    EXPECT_LT(big[i - 1], big[i]);
}

TEST(judge_halving, a_table_of_values_and_verdicts) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  const struct {
    const char* situation;
    std::vector<double> earlier;
    double value;
    bool maximise;
    std::uint32_t eta;
    bool go_on;
    std::uint64_t rank, of, kept;
    const char* says;
  } cases[] = {
      {"the first", {}, 0.1, true, 3, true, 1, 1, 1, "too few"},
      {"the second, worse", {0.9}, 0.1, true, 3, true, 2, 2, 2, "too few"},
      {"third and best", {0.5, 0.6}, 0.7, true, 3, true, 1, 3, 1, "rank 1 of 3"},
      {"third and not best", {0.5, 0.7}, 0.6, true, 3, false, 2, 3, 1, "the cutoff is 0.7"},
      {"smaller is better", {0.5, 0.7}, 0.4, false, 3, true, 1, 3, 1, "goes on"},
      {"smaller is better, and it is not", {0.5, 0.7}, 0.6, false, 3, false, 2, 3, 1, "stopped"},
      {"second of six", {1, 2, 3, 4, 6}, 5, true, 3, true, 2, 6, 2, "the best 2 (1 in 3)"},
      {"third of six", {1, 2, 3, 5, 6}, 4, true, 3, false, 3, 6, 2, "rank 3 of 6"},
      {"a tie shares the better rank", {1, 5, 2}, 5, true, 3, true, 1, 4, 1, "rank 1 of 4"},
      {"not a number", {1, 2, 3}, nan, true, 3, false, 0, 0, 0, "not a finite number"},
      {"infinitely good is no value", {1, 2, 3}, inf, true, 3, false, 0, 0, 0, "not a finite number"},
      {"others without a value do not count", {nan, nan, 0.5}, 0.1, true, 3, true, 2, 2, 2, "too few"},
      {"no halving at eta 1", {9, 9, 9, 9}, 1, true, 1, true, 5, 5, 5, "goes on"},
  };
  for (const auto& c : cases) {
    const auto v = judge_halving(c.earlier, c.value, c.maximise, c.eta);
    EXPECT_EQ(v.go_on, c.go_on) << c.situation << ": " << v.reason;
    EXPECT_EQ(v.rank, c.rank) << c.situation;
    EXPECT_EQ(v.of, c.of) << c.situation;
    EXPECT_EQ(v.kept, c.kept) << c.situation;
    EXPECT_NE(v.reason.find(c.says), std::string::npos) << c.situation << ": " << v.reason;
  }
}

TEST(judge_halving, lets_about_one_in_eta_on_and_never_stops_the_best_so_far) {
  auto random = random_source{42};
  for (const std::uint32_t eta : {2u, 3u, 4u}) {
    std::vector<double> at_rung;
    int passed = 0;
    double best = -1;
    for (int i = 0; i < 3000; ++i) {
      const double x = random.uniform();
      const auto v = judge_halving(at_rung, x, true, eta);
      if (x > best) {
        EXPECT_TRUE(v.go_on) << i;
        best = x;
      }
      passed += v.go_on;
      at_rung.push_back(x);
    }
    EXPECT_NEAR(passed, 3000.0 / eta, 150) << eta;
  }
}

} // namespace
} // namespace flywheel
