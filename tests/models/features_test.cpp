#include "models/features.hpp"
#include "tests/models/sample_tables.hpp"

#include <gtest/gtest.h>

using namespace flywheel;

TEST(features, travel_in_the_models_order_and_coding) {
  auto t = test::make_table(50, 1, task_type::binary);
  const auto task = test::task_for(t, task_type::binary, metric_name::accuracy);
  const auto s = make_signature(t, task).value();
  const auto before = encode_features(s, t).value();
  // The same rows, told by another table: columns elsewhere, categories in another order, one of them new.
  auto& small = t.columns[3];
  small.categories = {"violet", "blue", "green", "red"};
  for (auto& code : small.codes)
    code = code < 0 ? -1 : 3 - code;
  small.codes[0] = 0;
  std::swap(t.columns[0], t.columns[5]);
  std::swap(t.columns[1], t.columns[3]);
  const auto after = encode_features(s, t).value();
  EXPECT_TRUE(std::isnan(after[3])) << "violet was never seen in training";
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (i != 3) {
      EXPECT_TRUE(before[i] == after[i] || (std::isnan(before[i]) && std::isnan(after[i]))) << i;
    }
  }
}

TEST(features, an_absent_column_is_named_with_the_nearest_one) {
  auto t = test::make_table(10, 1, task_type::binary);
  auto task = test::task_for(t, task_type::binary, metric_name::accuracy);
  const auto s = make_signature(t, task).value();
  t.columns[4].name = "lrage";
  const auto r = encode_features(s, t);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, errc::invalid_argument);
  EXPECT_NE(r.error().hint.find("lrage"), std::string::npos) << r.error().to_string();
}

TEST(features, the_signature_refuses_contradictions) {
  const auto t = test::make_table(10, 1, task_type::binary);
  const auto good = test::task_for(t, task_type::binary, metric_name::accuracy);
  const auto refused = [&](auto change) {
    auto task = good;
    change(task);
    return !make_signature(t, task).has_value();
  };
  EXPECT_FALSE(refused([](learning_task&) {}));
  EXPECT_TRUE(refused([](learning_task& k) { k.inputs.push_back("y"); })) << "the target as an input is a leak";
  EXPECT_TRUE(refused([](learning_task& k) { k.inputs.push_back("a"); }));
  EXPECT_TRUE(refused([](learning_task& k) { k.inputs.clear(); }));
  EXPECT_TRUE(refused([](learning_task& k) { k.classes = {"yes"}; }));
  EXPECT_TRUE(refused([](learning_task& k) { k.classes = {"yes", "yes"}; }));
  EXPECT_TRUE(refused([](learning_task& k) { k.metric = metric_name::rmse; }));
}

TEST(features, targets_by_label_by_number_or_an_error_with_the_row) {
  auto t = test::make_table(10, 1, task_type::binary);
  const auto s = make_signature(t, test::task_for(t, task_type::binary, metric_name::accuracy)).value();
  EXPECT_EQ(encode_target(s, t).value()[3], t.columns[5].codes[3]);
  t.columns[5].codes[6] = -1;
  const auto missing = encode_target(s, t);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().what.find("row 7"), std::string::npos) << missing.error().to_string();

  model_signature numeric{task_type::binary, "b", {}, {"0", "1"}};
  auto& b = t.columns[1];
  for (std::size_t i = 0; i < b.numbers.size(); ++i)
    b.numbers[i] = static_cast<double>(i % 2);
  EXPECT_EQ(encode_target(numeric, t).value()[1], 1);
  b.numbers[0] = 2;
  EXPECT_FALSE(encode_target(numeric, t));
}
