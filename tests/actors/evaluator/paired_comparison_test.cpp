#include "actors/evaluator/paired_comparison.hpp"

#include "tests/actors/evaluator/judged_samples.hpp"

#include <gtest/gtest.h>

namespace flywheel {
namespace {
using namespace testing;
using enum comparison_result;

/// Two models that disagree on `only_first` + `only_second` of `n` rows, all truth 0; both are right on the rest.
std::pair<judged_rows, judged_rows> disagreeing(std::size_t n, std::size_t only_first, std::size_t only_second) {
  judged_rows a{task_type::binary, 2, std::vector<double>(n, 0), {}}, b = a;
  for (std::size_t i = 0; i < n; ++i) {
    const float pa = i >= only_first && i < only_first + only_second ? 0.9f : 0.1f, pb = i < only_first ? 0.9f : 0.1f;
    a.predicted.insert(a.predicted.end(), {1 - pa, pa});
    b.predicted.insert(b.predicted.end(), {1 - pb, pb});
  }
  return {a, b};
}

TEST(compare_paired, accuracy_by_mcnemars_exact_test) { // p: scipy.stats.binomtest(k, n).pvalue, 1.17.1
  const struct {
    std::size_t n, only_champion, only_challenger;
    double p;
    comparison_result expected;
  } cases[] = {
      {1667, 6, 18, 0.022655844688415527, better},
      {1667, 18, 6, 0.022655844688415527, worse},
      {1667, 40, 70, 0.005447429511444476, better},
      {1667, 10, 10, 1.0, no_difference},
      {1667, 0, 0, 1.0, no_difference},
      {1667, 5, 9, 0.4239501953125, no_difference},
      {100, 3, 7, 0.34375, inconclusive},
      {20, 0, 0, 1.0, inconclusive}, // 20 rows cannot rule out a difference of 1 %
  };
  for (const auto& c : cases) {
    const auto [champion, challenger] = disagreeing(c.n, c.only_champion, c.only_challenger);
    const auto r = compare_paired(metric_name::accuracy, champion, challenger);
    ASSERT_TRUE(r.has_value());
    EXPECT_NEAR(r->p_value, c.p, 1e-12) << r->reason;
    EXPECT_EQ(r->result, c.expected) << r->reason;
    EXPECT_EQ(r->only_champion, c.only_champion);
    EXPECT_EQ(r->only_challenger, c.only_challenger);
    EXPECT_TRUE(r->range.contains(r->difference)) << r->reason;
    EXPECT_NE(r->reason.find(std::string(name_of(c.expected))), std::string::npos);
  }
}

TEST(compare_paired, knows_that_a_smaller_error_is_better) {
  auto champion = regression_rows(), challenger = champion;
  for (std::size_t i = 0; i < challenger.rows(); ++i) // a quarter of the error
    challenger.predicted[i] = static_cast<float>(challenger.truth[i] + 0.25 * (static_cast<double>(champion.predicted[i]) - challenger.truth[i]));
  const auto up = compare_paired(metric_name::rmse, champion, challenger);
  ASSERT_TRUE(up.has_value());
  EXPECT_EQ(up->result, better) << up->reason;
  EXPECT_LT(up->range.high, 0);
  EXPECT_EQ(compare_paired(metric_name::rmse, challenger, champion)->result, worse);
  EXPECT_EQ(compare_paired(metric_name::r2, champion, challenger)->result, better);
  const auto same = compare_paired(metric_name::rmse, champion, champion);
  EXPECT_EQ(same->result, no_difference) << same->reason;
  EXPECT_EQ(same->p_value, 1);
}

TEST(compare_paired, finds_a_difference_seldom_when_there_is_none) {
  // Both models add noise of the same size to the true probability.
  int found = 0;
  for (std::uint64_t s = 0; s < 100; ++s) {
    auto random = random_source{s};
    auto a = calibrated_rows(200, 1000 + s), b = a;
    const auto disturb = [&](judged_rows& r) {
      for (std::size_t i = 0; i < r.rows(); ++i) {
        const float p = std::clamp(r.predicted[2 * i + 1] + static_cast<float>(0.1 * random.normal()), 0.f, 1.f);
        r.predicted[2 * i] = 1 - p;
        r.predicted[2 * i + 1] = p;
      }
    };
    disturb(a);
    disturb(b);
    comparison_options o;
    o.resamples = 200;
    for (const auto m : {metric_name::accuracy, metric_name::auc}) {
      const auto r = compare_paired(m, a, b, o);
      found += r->result == better || r->result == worse;
    }
  }
  EXPECT_LE(found, 24); // 5 % of 200 is 10
}

TEST(compare_paired, refuses_what_is_not_paired) {
  const auto a = binary_rows(40, 30);
  auto b = a;
  b.truth[0] = 1 - b.truth[0];
  EXPECT_EQ(compare_paired(metric_name::accuracy, a, b).error().code, errc::invalid_argument);
  EXPECT_EQ(compare_paired(metric_name::accuracy, a, binary_rows(39, 30)).error().code, errc::invalid_argument);
  EXPECT_EQ(compare_paired(metric_name::rmse, a, a).error().code, errc::invalid_argument);
  const judged_rows none{task_type::binary, 2, {}, {}};
  EXPECT_EQ(compare_paired(metric_name::accuracy, none, none).error().code, errc::invalid_argument);
  b = a;
  b.predicted[3] = std::nanf("");
  EXPECT_EQ(compare_paired(metric_name::accuracy, a, b).error().code, errc::invalid_data);
}

} // namespace
} // namespace flywheel
