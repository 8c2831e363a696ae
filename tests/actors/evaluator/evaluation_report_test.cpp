#include "actors/evaluator/evaluation_report.hpp"

#include "cluster/base/json.hpp"
#include "tests/actors/evaluator/judged_samples.hpp"

#include <gtest/gtest.h>

namespace flywheel {
namespace {
using namespace testing;
using nlohmann::json;

TEST(measure_calibration, counts_by_hand) {
  // stated 0.05 -> truth 0,0,0,1; stated 0.95 -> 1,1
  judged_rows r{task_type::binary, 2, {0, 0, 0, 1, 1, 1}, {}};
  for (const float p : {0.05f, 0.05f, 0.05f, 0.05f, 0.95f, 0.95f})
    r.predicted.insert(r.predicted.end(), {1 - p, p});
  const auto c = measure_calibration(r);
  ASSERT_EQ(c.bins.size(), 10u);
  EXPECT_EQ(c.bins[0].rows, 4u);
  EXPECT_NEAR(c.bins[0].observed, 0.25, 1e-12);
  EXPECT_EQ(c.bins[9].rows, 2u);
  EXPECT_NEAR(c.ece, (4 * 0.20 + 2 * 0.05) / 6, 1e-6);
  EXPECT_NEAR(c.brier, (3 * 0.0025 + 0.9025 + 2 * 0.0025) / 6, 1e-6);
}

TEST(measure_calibration, an_honest_model_has_a_small_error_and_a_boaster_a_large_one) {
  auto honest = calibrated_rows(20'000, 5);
  EXPECT_LT(measure_calibration(honest).ece, 0.015);
  for (std::size_t i = 0; i < honest.rows(); ++i) {
    const float p = honest.predicted[2 * i + 1] > 0.5f ? 1.f : 0.f;
    honest.predicted[2 * i] = 1 - p;
    honest.predicted[2 * i + 1] = p;
  }
  EXPECT_NEAR(measure_calibration(honest).ece, 0.25, 0.02);
}

TEST(measure_calibration, of_many_classes_watches_the_chosen_one) {
  judged_rows r{task_type::multiclass, 3, {0, 2}, {0.7f, 0.2f, 0.1f, 0.5f, 0.3f, 0.2f}};
  const auto c = measure_calibration(r);
  EXPECT_EQ(c.bins[7].rows + c.bins[6].rows, 1u);
  EXPECT_NEAR(c.brier, ((0.09 + 0.04 + 0.01) + (0.25 + 0.09 + 0.64)) / 2, 1e-6);
  EXPECT_EQ(count_confusion(r), (confusion_matrix{{1, 0, 0}, {0, 0, 0}, {1, 0, 0}}));
}

evaluation_request request(std::size_t right = 1600) {
  evaluation_request q;
  q.model = "churn/v2";
  q.task.type = task_type::binary;
  q.task.target = "churn";
  q.task.classes = {"no", "yes"};
  q.task.metric = metric_name::accuracy;
  q.rows = binary_rows(1667, right);
  q.threshold = 0.95;
  evaluation_slice early{"first half", "row <= 833", std::vector<std::uint8_t>(1667, 0), 0.9};
  std::fill_n(early.member.begin(), 833, 1);
  evaluation_slice few{"ten rows", "row <= 10", std::vector<std::uint8_t>(1667, 0), std::nullopt};
  std::fill_n(few.member.begin(), 10, 1);
  q.slices = {early, few};
  q.champion = binary_rows(1667, 1400).predicted;
  q.champion_name = "churn/v1";
  return q;
}

TEST(evaluate, tells_the_whole_story) {
  const auto r = evaluate(request());
  ASSERT_TRUE(r.has_value()) << r.error().to_string();
  EXPECT_EQ(r->gate.result, gate_result::pass) << r->gate.reason;
  EXPECT_EQ(r->rows, 1667u);
  EXPECT_EQ(r->others.size(), 4u);
  ASSERT_EQ(r->slices.size(), 2u);
  EXPECT_EQ(r->slices[0].estimate.rows, 833u);
  EXPECT_TRUE(r->slices[0].judged);
  EXPECT_FALSE(r->slices[1].judged) << "no threshold: reported, not judged";
  ASSERT_TRUE(r->champion);
  EXPECT_EQ(r->champion->result, comparison_result::better);
  EXPECT_EQ(r->confusion[0][0] + r->confusion[1][1], 1600u);

  std::string text;
  for (const auto& line : render(*r))
    text += line + "\n";
  for (const auto* part : {"churn/v2 on 1667 held-out rows: all rows: pass", "0.9598", "slice first half", "833 rows",
                           "10 rows", "calibration: error", "against churn/v1: better", "2 of 2 gates pass"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(evaluate, a_slice_may_fail_the_whole_and_a_thin_one_leaves_it_open) {
  auto q = request();
  q.slices[0].threshold = 0.99;
  EXPECT_EQ(evaluate(q)->gate.result, gate_result::fail);
  EXPECT_NE(evaluate(q)->gate.reason.find("slice first half"), std::string::npos);
  q = request();
  q.slices[1].threshold = 0.5;
  EXPECT_EQ(evaluate(q)->gate.result, gate_result::inconclusive);
  q.slices[1].member.assign(1667, 0); // nobody in it
  EXPECT_EQ(evaluate(q)->gate.result, gate_result::inconclusive);
}

TEST(evaluate, refuses_what_does_not_fit_together) {
  const struct { const char* says; void (*spoil)(evaluation_request&); } cases[] = {
      {"no held-out rows", [](evaluation_request& q) { q.rows.truth.clear(); q.rows.predicted.clear(); }},
      {"do not fit the task", [](evaluation_request& q) { q.task.classes.push_back("maybe"); }},
      {"does not fit a binary", [](evaluation_request& q) { q.task.metric = metric_name::rmse; }},
      {"marks 3 of 1667", [](evaluation_request& q) { q.slices[0].member.resize(3); }},
      {"confidence", [](evaluation_request& q) { q.confidence = 1.5; }},
      {"predicted values", [](evaluation_request& q) { q.champion->pop_back(); }},
  };
  for (const auto& c : cases) {
    auto q = request();
    c.spoil(q);
    const auto r = evaluate(q);
    ASSERT_FALSE(r.has_value()) << c.says;
    EXPECT_NE(r.error().what.find(c.says), std::string::npos) << r.error().what;
  }
}

TEST(evaluate, a_regression_has_no_calibration_and_no_classes) {
  evaluation_request q;
  q.model = "price/v1";
  q.task.type = task_type::regression;
  q.task.metric = metric_name::mae;
  q.rows = regression_rows();
  q.threshold = 2.5;
  const auto r = evaluate(q);
  ASSERT_TRUE(r.has_value()) << r.error().to_string();
  EXPECT_EQ(r->gate.result, gate_result::pass) << r->gate.reason;
  EXPECT_FALSE(r->calibrated);
  EXPECT_TRUE(r->confusion.empty());
  const auto back = evaluation_from_json(to_json(*r));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(to_json(*back), to_json(*r));
}

TEST(evaluation_json, comes_back_as_it_was_and_says_the_same) {
  const auto r = evaluate(request());
  const auto text = to_json(*r).dump();
  const auto back = evaluation_from_json(json::parse(text));
  ASSERT_TRUE(back.has_value()) << back.error().to_string();
  EXPECT_EQ(to_json(*back).dump(), text);
  EXPECT_EQ(render(*back), render(*r));
}

TEST(evaluation_json, reading_trusts_nothing) {
  const auto good = to_json(*evaluate(request()));
  const auto spoilt = [&](const char* pointer, json value) {
    auto j = good;
    j[json::json_pointer(pointer)] = std::move(value);
    const auto r = evaluation_from_json(j);
    EXPECT_FALSE(r.has_value()) << pointer;
    return r ? errc::ok : r.error().code;
  };
  EXPECT_EQ(spoilt("/version", 2), errc::incompatible_version);
  EXPECT_EQ(spoilt("/gate/result", "maybe"), errc::invalid_format);
  EXPECT_EQ(spoilt("/estimate/metric", "happiness"), errc::invalid_format);
  EXPECT_EQ(spoilt("/estimate/interval", json::array({1})), errc::invalid_format);
  EXPECT_EQ(spoilt("/rows", "many"), errc::invalid_format);
  EXPECT_EQ(spoilt("/confusion", json::array({json::array({1})})), errc::invalid_format);
  EXPECT_EQ(spoilt("/slices/0", json::array()), errc::invalid_format);
  for (const auto& [key, value] : good.items()) {
    auto j = good;
    j.erase(key);
    if (key == "calibration" || key == "champion")
      EXPECT_TRUE(evaluation_from_json(j).has_value()) << key << " is optional";
    else
      EXPECT_FALSE(evaluation_from_json(j).has_value()) << key;
  }
  EXPECT_FALSE(evaluation_from_json(json::array()).has_value());
  EXPECT_FALSE(evaluation_from_json(json(nullptr)).has_value());
}

} // namespace
} // namespace flywheel
