#include "actors/evaluator/gate_policy.hpp"

#include "tests/actors/evaluator/judged_samples.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace flywheel {
namespace {
using namespace testing;
using enum gate_result;

metric_estimate accuracy_of(std::size_t right, std::size_t rows) {
  return estimate(metric_name::accuracy, binary_rows(rows, right), {});
}
metric_estimate made(metric_name m, double value, double low, double high, std::uint64_t rows) {
  return {m, value, {low, high}, 0.95, rows, "bootstrap bca", 1000};
}

TEST(judge_gate, a_table_of_measurements_and_verdicts) {
  const double nan = std::nan("");
  const struct {
    const char* situation;
    metric_estimate e;
    double threshold;
    gate_result expected;
    const char* says;
  } cases[] = {
      {"the churn goal, well reached", accuracy_of(1607, 1667), 0.95, pass, "the whole interval is on that side"},
      {"the churn goal, just reached", accuracy_of(1595, 1667), 0.95, pass, "confidence"},
      {"the churn goal at 0.9502: one right answer more than needed", accuracy_of(1584, 1667), 0.95, pass, "52 %"},
      {"the churn goal, one right answer short", accuracy_of(1583, 1667), 0.95, fail, "misses the threshold 0.9500 by 0.0004"},
      {"clearly missed", accuracy_of(1500, 1667), 0.95, fail, "the whole interval"},
      {"exactly reached", accuracy_of(950, 1000), 0.95, pass, "reaches"},
      {"too few rows", accuracy_of(29, 29), 0.5, inconclusive, "29 rows are too few"},
      {"enough rows for the rule but too wide an interval", accuracy_of(38, 40), 0.93, inconclusive, "more rows are needed"},
      {"as wide, but nowhere near the threshold", accuracy_of(38, 40), 0.5, pass, "the whole interval"},
      {"as wide, and clearly missed", accuracy_of(20, 40), 0.95, fail, "the whole interval"},
      {"f1", made(metric_name::f1, 0.85, 0.82, 0.88, 1667), 0.84, pass, "f1 0.8500"},
      {"an error below its limit", made(metric_name::rmse, 9.9, 9.5, 10.4, 500), 10, pass, "reaches the limit"},
      {"an error above its limit", made(metric_name::rmse, 10.1, 9.6, 10.5, 500), 10, fail, "misses the limit 10.0000 by 0.1000"},
      {"an error with a wide interval", made(metric_name::rmse, 9.9, 8.5, 11.4, 500), 10, inconclusive, "more rows"},
      {"undefined", made(metric_name::auc, nan, nan, nan, 500), 0.9, inconclusive, "not defined"},
  };
  for (const auto& c : cases) {
    const auto v = judge_gate(c.e, c.threshold);
    EXPECT_EQ(v.result, c.expected) << c.situation << ": " << v.reason;
    EXPECT_NE(v.reason.find(c.says), std::string::npos) << c.situation << ": " << v.reason;
    EXPECT_EQ(v.reason.rfind(std::string(name_of(c.expected)) + ":", 0), 0u) << v.reason;
  }
}

TEST(judge_gate, never_changes_its_mind_as_the_measurement_improves) {
  // From inconclusive or fail to pass, never back, for every size of evidence.
  for (const std::size_t rows : {30u, 100u, 400u, 1667u}) {
    bool passed = false;
    for (std::size_t right = 0; right <= rows; ++right) {
      const auto r = judge_gate(accuracy_of(right, rows), 0.8).result;
      EXPECT_FALSE(passed && r == fail) << right << "/" << rows;
      passed |= r == pass;
    }
    EXPECT_TRUE(passed) << rows;
  }
}

TEST(combine_gates, the_worst_one_decides_and_is_named) {
  const auto of = [](gate_result r, const char* reason) {
    gate_verdict v;
    v.result = r;
    v.reason = reason;
    return v;
  };
  const named_gate good{"all rows", of(pass, "good")}, thin{"slice a", of(inconclusive, "thin")},
      bad{"slice b", of(fail, "bad")};
  EXPECT_EQ(combine_gates({}).result, pass);
  EXPECT_EQ(combine_gates({good}).reason, "good");
  EXPECT_EQ(combine_gates({good, thin}).result, inconclusive);
  const auto v = combine_gates({good, thin, bad, good});
  EXPECT_EQ(v.result, fail);
  EXPECT_EQ(v.reason, "slice b: bad (2 of 4 gates pass)");
}

} // namespace
} // namespace flywheel
