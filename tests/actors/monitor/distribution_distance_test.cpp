#include "actors/monitor/distribution_distance.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

using namespace flywheel;

TEST(distribution_distance, psi_of_a_known_pair_is_the_formulas) {
  // Large counts, so that the half row per bin does not show: shares 0.5/0.5 against 0.7/0.3.
  const count_pair c{{500'000, 500'000}, {700'000, 300'000}};
  const double expected = 0.2 * std::log(0.7 / 0.5) + -0.2 * std::log(0.3 / 0.5);
  EXPECT_NEAR(population_stability_index(c, false), expected, 1e-5);
  EXPECT_NEAR(population_stability_index({{100, 200, 300}, {100, 200, 300}}, false), 0, 1e-12);
}

TEST(distribution_distance, an_emptied_bin_is_large_but_finite) {
  const double psi = population_stability_index({{500, 500}, {0, 1000}}, false);
  EXPECT_GT(psi, 1);
  EXPECT_TRUE(std::isfinite(psi));
}

TEST(distribution_distance, ks_p_values_agree_with_the_table_of_kolmogorovs_distribution) {
  // Critical values of sqrt(n) D for large n: 1.2238 (0.10), 1.3581 (0.05), 1.6276 (0.01), 1.9495 (0.001).
  const double n = 1e8; // reference and live: effective n is half of it
  for (const auto& [t, p] : {std::pair{1.2238, 0.10}, {1.3581, 0.05}, {1.6276, 0.01}, {1.9495, 0.001}})
    EXPECT_NEAR(kolmogorov_smirnov_p_value(t / std::sqrt(n / 2), n, n), p, p * 0.01);
  EXPECT_EQ(kolmogorov_smirnov_p_value(0, 100, 100), 1);
  EXPECT_LT(kolmogorov_smirnov_p_value(1, 500, 500), 1e-100);
  EXPECT_EQ(kolmogorov_smirnov_p_value(0.5, 0, 100), 1);
}

TEST(distribution_distance, ks_distance_is_the_largest_gap) {
  EXPECT_DOUBLE_EQ(kolmogorov_smirnov_distance({{10, 10, 10, 10}, {0, 10, 20, 10}}), 0.25);
}

TEST(distribution_distance, chi_square_of_a_known_table) {
  // 2 x 2: {30, 70} against {50, 50}: chi2 = 8.3333, one degree of freedom, p = 0.003892.
  EXPECT_NEAR(chi_square_p_value({{30, 70}, {50, 50}}), 0.0038924, 1e-6);
  EXPECT_EQ(chi_square_p_value({{100}, {50}}), 1);
  EXPECT_EQ(chi_square_p_value({{0, 0}, {50, 50}}), 1);
}

TEST(distribution_distance, rare_categories_are_merged_before_the_test) {
  // 200 categories of one or two rows: unmerged, the test would be far outside its validity.
  random_source random{3};
  int alarms = 0;
  for (int round = 0; round < 500; ++round) {
    count_pair c{std::vector<std::uint64_t>(200), std::vector<std::uint64_t>(200)};
    for (int i = 0; i < 400; ++i) {
      ++c.reference[random.below(200)];
      ++c.live[random.below(200)];
    }
    alarms += chi_square_p_value(c) < 0.01 ? 1 : 0;
  }
  EXPECT_LE(alarms, 15); // 5 expected
}

TEST(distribution_distance, holm_by_hand) {
  // Sorted 0.005, 0.01, 0.03, 0.04 -> 0.02, 0.03, 0.06, max(0.06, 0.04).
  EXPECT_EQ(holm(std::vector{0.01, 0.04, 0.03, 0.005}), (std::vector{0.03, 0.06, 0.06, 0.02}));
  EXPECT_TRUE(holm(std::vector<double>{}).empty());
  EXPECT_EQ(holm(std::vector{0.9, 0.8}), (std::vector{1.0, 1.0}));
}

TEST(distribution_distance, a_binned_comparison_does_not_see_bins_it_was_not_told) {
  column c;
  c.name = "x";
  random_source random{5};
  for (int i = 0; i < 5000; ++i)
    c.numbers.push_back(random.normal());
  const auto f = build_feature_profile(c);
  std::vector<std::uint64_t> live(f.counts.size());
  std::vector<double> raw;
  for (int i = 0; i < 500; ++i) {
    const double x = random.normal() + 0.4;
    raw.push_back(x);
    ++live[*f.bin_of(x)];
  }
  // The exact two-sample distance, from the values themselves.
  auto sorted = c.numbers;
  std::sort(sorted.begin(), sorted.end());
  std::sort(raw.begin(), raw.end());
  double exact = 0;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const auto below = static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), raw[i]) - sorted.begin()) / 5000;
    exact = std::max({exact, std::abs(below - static_cast<double>(i) / 500), std::abs(below - static_cast<double>(i + 1) / 500)});
  }
  const auto r = compare(f, live, 0);
  EXPECT_TRUE(r.ordered);
  EXPECT_LE(r.distance, exact + 1e-9);
  EXPECT_GE(r.distance, exact - 2.0 / profile_bins_max);
  EXPECT_LT(r.p_value, 1e-6);
}

TEST(distribution_distance, missing_values_are_a_bin_of_their_own) {
  column c;
  c.name = "x";
  for (int i = 0; i < 1000; ++i)
    c.numbers.push_back(i);
  const auto f = build_feature_profile(c);
  auto live = f.counts;
  const auto same = compare(f, live, 0);
  EXPECT_NEAR(same.psi, 0, 1e-9);
  EXPECT_EQ(same.p_value, 1);
  const auto gone = compare(f, live, 1000); // every second value is missing now
  EXPECT_GT(gone.psi, 0.5);
  EXPECT_NEAR(gone.distance, 0.5, 1e-9);
  EXPECT_LT(gone.p_value, 1e-12);
}
