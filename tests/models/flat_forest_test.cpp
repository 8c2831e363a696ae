#include "models/flat_forest.hpp"

#include "models/features.hpp"
#include "models/xgboost_booster.hpp"
#include "tests/models/sample_tables.hpp"

#include <gtest/gtest.h>

using namespace flywheel;

namespace {

struct trained {
  std::vector<float> features, labels;
  std::vector<std::uint32_t> counts;
  std::optional<boost_matrix> matrix;
  std::optional<booster> trees;
};

trained train(task_type type, std::size_t categories, int rounds, const std::string& depth) {
  const auto t = test::make_table(2000, 11, type, categories);
  const auto task = test::task_for(t, type, type == task_type::regression ? metric_name::rmse : metric_name::accuracy);
  const auto signature = make_signature(t, task).value();
  trained r;
  r.features = encode_features(signature, t).value();
  const auto target = encode_target(signature, t).value();
  r.labels.assign(target.begin(), target.end());
  r.counts = category_counts(signature);
  r.matrix = boost_matrix::create(r.features, r.labels, r.counts).value();
  boost_params p{{"tree_method", "hist"}, {"max_cat_to_onehot", "64"}, {"max_depth", depth}, {"nthread", "1"},
                 {"learning_rate", "0.3"}, {"base_score", "0.5"}, {"subsample", "0.7"}, {"colsample_bytree", "0.8"},
                 {"objective", type == task_type::binary ? "binary:logistic" : type == task_type::multiclass ? "multi:softprob" : "reg:squarederror"}};
  if (type == task_type::multiclass)
    p["num_class"] = "3";
  r.trees = booster::create(p, {&*r.matrix}).value();
  for (int i = 0; i < rounds; ++i)
    EXPECT_TRUE(r.trees->update(static_cast<std::uint32_t>(i), *r.matrix));
  return r;
}

/// Rows as hostile as a client may send them, and how XGBoost must be asked for the same answer.
struct hard_rows {
  std::vector<float> ours, xgboosts;
};
hard_rows make_hard_rows(const trained& t, std::size_t rows) {
  random_source random{5};
  hard_rows r;
  constexpr float missing = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t k = 0; k < t.counts.size(); ++k) {
      // Values of other rows hit thresholds exactly; each column is drawn on its own, so that the mixture is new.
      float x = t.features[random.below(t.labels.size()) * t.counts.size() + k], same = x;
      const double dice = random.uniform();
      if (dice < 0.1)
        x = same = missing;
      else if (dice < 0.2 && t.counts[k] > 0) {
        const float unknown[] = {-1, static_cast<float>(t.counts[k]), 1.5f, 1e30f, -std::numeric_limits<float>::infinity()};
        x = unknown[random.below(5)];
        same = missing;
      } else if (dice < 0.3 && t.counts[k] == 0) {
        x = same = static_cast<float>(random.normal() * 1e6);
      }
      r.ours.push_back(x);
      r.xgboosts.push_back(same);
    }
  }
  return r;
}

void expect_same_margins(task_type type, std::size_t categories, int rounds, const std::string& depth, bool with_sets) {
  const auto t = train(type, categories, rounds, depth);
  const std::size_t outputs = type == task_type::multiclass ? 3 : 1;
  const std::vector<float> base(outputs, type == task_type::binary ? 0.0f : 0.5f);
  const auto forest = t.trees->forest(base, t.counts);
  ASSERT_TRUE(forest) << forest.error().to_string();
  EXPECT_EQ(std::any_of(forest->nodes().begin(), forest->nodes().end(),
                        [](const forest_node& n) { return n.kind == node_kind::one_of; }), with_sets);
  constexpr std::size_t rows = 5000;
  const auto hard = make_hard_rows(t, rows);
  const auto matrix = boost_matrix::create(hard.xgboosts, std::vector<float>(rows, 0.0f), t.counts).value();
  const auto expected = t.trees->margins(matrix).value();
  std::vector<float> actual(rows * outputs);
  forest->margins(hard.ours, rows, actual);
  std::size_t different = 0;
  for (std::size_t i = 0; i < actual.size(); ++i)
    different += actual[i] != expected[i];
  EXPECT_EQ(different, 0u);
}

} // namespace

TEST(flat_forest, answers_as_xgboost_does_to_the_bit) {
  expect_same_margins(task_type::binary, 20, 100, "6", false);
  expect_same_margins(task_type::multiclass, 20, 23, "4", false); // 69 trees: the last group of lanes is not full
  expect_same_margins(task_type::regression, 20, 50, "8", false);
}

TEST(flat_forest, answers_as_xgboost_does_with_sets_of_categories) {
  expect_same_margins(task_type::binary, 200, 40, "6", true);
  expect_same_margins(task_type::regression, 200, 40, "6", true);
}

TEST(flat_forest, refuses_what_would_lead_outside_or_in_circles) {
  const forest_node leaf0{1.0f, 0, 0, 0, node_kind::leaf, 0};
  const auto leaf = [](std::uint32_t at) { return forest_node{1.0f, at, 0, 0, node_kind::leaf, 0}; };
  const auto ask = [](std::uint32_t left, std::uint16_t input = 0, node_kind kind = node_kind::less, std::uint32_t set = 0) {
    return forest_node{0.5f, left, set, input, kind, 0};
  };
  const auto make = [](std::vector<forest_node> nodes, std::vector<std::uint32_t> sets = {},
                       std::vector<forest_tree> trees = {{0, 0, 0}}) {
    return flat_forest::create(std::move(nodes), std::move(trees), std::move(sets), {0.0f}, {0, 5});
  };
  EXPECT_TRUE(make({leaf0}));
  EXPECT_TRUE(make({ask(1), leaf(1), leaf(2)}));
  EXPECT_TRUE(make({ask(1, 1, node_kind::one_of), leaf(1), leaf(2)}, {1, 6}));
  EXPECT_FALSE(make({leaf(7)})) << "a leaf must stay where it is";
  EXPECT_FALSE(make({ask(0), leaf(1), leaf(2)})) << "a circle";
  EXPECT_FALSE(make({ask(2), leaf(1), leaf(2)})) << "the right child is beyond the end";
  EXPECT_FALSE(make({ask(4'000'000'000u), leaf(1), leaf(2)}));
  EXPECT_FALSE(make({ask(1, 2), leaf(1), leaf(2)})) << "there are two inputs";
  EXPECT_FALSE(make({ask(1, 1), leaf(1), leaf(2)})) << "a threshold on a category";
  EXPECT_FALSE(make({ask(1, 0, node_kind::equal), leaf(1), leaf(2)})) << "a category of a number";
  EXPECT_FALSE(make({ask(1, 1, node_kind::one_of), leaf(1), leaf(2)}, {2, 6})) << "the set is cut";
  EXPECT_FALSE(make({ask(1, 1, static_cast<node_kind>(9)), leaf(1), leaf(2)}));
  EXPECT_FALSE(make({leaf0}, {}, {{0, 0, 3}})) << "an output that is not there";
  EXPECT_FALSE(make({leaf0}, {}, {{9, 0, 0}}));
  auto infinite = leaf0;
  infinite.value = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(make({infinite}));
  EXPECT_TRUE(make({}, {}, {})) << "no tree at all: the base alone";
}
