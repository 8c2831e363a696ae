#include "cluster/base/json.hpp"
#include "cluster/dataset/reference_profile.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

using namespace flywheel;

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();

column numeric(std::string name, std::vector<double> xs) {
  column c;
  c.name = std::move(name);
  c.numbers = std::move(xs);
  return c;
}

table sample_table(std::size_t rows) {
  random_source random{7};
  table t;
  std::vector<double> xs, ks;
  column plan;
  plan.name = "plan";
  plan.type = column_type::categorical;
  plan.categories = {"no", "yes"};
  for (std::size_t i = 0; i < rows; ++i) {
    xs.push_back(i % 10 == 0 ? nan_value : random.normal());
    ks.push_back(static_cast<double>(random.below(5)));
    plan.codes.push_back(i % 7 == 0 ? -1 : static_cast<std::int32_t>(random.below(2)));
    t.row_ids.push_back(i + 1);
  }
  t.columns = {numeric("x", xs), numeric("k", ks), plan};
  return t;
}

} // namespace

TEST(reference_profile, every_row_is_counted_once_and_bins_are_nearly_equal) {
  const auto t = sample_table(10'000);
  const auto p = build_profile(t, "k");
  ASSERT_EQ(p.features.size(), 2u);
  ASSERT_TRUE(p.target);
  EXPECT_EQ(p.target->name, "k");
  for (const auto& f : p.features)
    EXPECT_EQ(f.rows(), 10'000u) << f.name;
  const auto& x = *p.find("x");
  EXPECT_EQ(x.missing, 1000u);
  EXPECT_EQ(x.counts.size(), profile_bins_max);
  for (auto n : x.counts) {
    EXPECT_GT(n, 50u); // 9000 / 128 = 70.3
    EXPECT_LT(n, 90u);
  }
}

TEST(reference_profile, a_discrete_column_gets_one_bin_per_value) {
  const auto f = build_feature_profile(numeric("k", {3, 1, 1, 2, 1, nan_value, 2}));
  EXPECT_EQ(f.edges, (std::vector<double>{1, 2}));
  EXPECT_EQ(f.counts, (std::vector<std::uint64_t>{3, 2, 1}));
  EXPECT_EQ(f.missing, 1u);
}

TEST(reference_profile, a_value_falls_into_the_same_bin_as_double_and_as_float) {
  std::vector<double> xs;
  for (int i = 0; i < 60; ++i)
    xs.push_back(0.1 * i + 265.1);
  const auto f = build_feature_profile(numeric("minutes", xs));
  ASSERT_EQ(f.counts.size(), 60u);
  for (double x : xs)
    EXPECT_EQ(f.bin_of(x), f.bin_of(static_cast<double>(static_cast<float>(x)))) << x;
}

TEST(reference_profile, empty_constant_all_null_and_infinite_columns_are_described_not_refused) {
  EXPECT_EQ(build_feature_profile(numeric("e", {})).counts, (std::vector<std::uint64_t>{0}));
  EXPECT_EQ(build_feature_profile(numeric("c", {5, 5, 5})).counts, (std::vector<std::uint64_t>{3}));
  const auto null = build_feature_profile(numeric("n", {nan_value, nan_value}));
  EXPECT_EQ(null.missing, 2u);
  EXPECT_EQ(null.rows(), 2u);
  const double inf = std::numeric_limits<double>::infinity();
  const auto wild = build_feature_profile(numeric("w", {-inf, 1, 2, 3, inf, 1e300}));
  EXPECT_EQ(wild.edges, (std::vector<double>{1, 2}));
  EXPECT_EQ(wild.counts, (std::vector<std::uint64_t>{2, 1, 3}));
}

TEST(reference_profile, survives_json_to_the_bit) {
  auto p = build_profile(sample_table(3'000), "plan");
  p.prediction = build_feature_profile("churn", {0.1, 0.25, 1.0 / 3});
  const auto text = to_json(p).dump();
  const auto back = profile_from_json(nlohmann::json::parse(text));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, p);
}

TEST(reference_profile, damaged_json_is_an_error_that_names_the_place) {
  const auto good = to_json(build_profile(sample_table(100), "plan"));
  const auto broken = [&](auto&& damage) {
    auto j = good;
    damage(j);
    const auto r = profile_from_json(j);
    return r ? std::string{"accepted"} : r.error().to_string();
  };
  using nlohmann::json;
  EXPECT_NE(broken([](json& j) { j["version"] = 2u; }).find("incompatible_version"), std::string::npos);
  EXPECT_NE(broken([](json& j) { j["features"][0]["edges"][1] = -1e30; }).find("features[0].edges"), std::string::npos);
  EXPECT_NE(broken([](json& j) { j["features"][0]["counts"][0] = 1e6; }).find("features[0].counts"), std::string::npos);
  EXPECT_NE(broken([](json& j) { j["features"][0]["counts"][0] = -4; }).find("features[0].counts"), std::string::npos);
  EXPECT_NE(broken([](json& j) { j["features"][0]["missing"] = 0u; }).find("do not add up"), std::string::npos);
  EXPECT_NE(broken([](json& j) { j["features"][1]["name"] = "x"; }).find("repeats"), std::string::npos);
  EXPECT_NE(broken([](json& j) { j["target"]["categories"][0] = "yes"; }).find("target.categories"), std::string::npos);
  for (const auto* key : {"version", "rows", "features"})
    EXPECT_NE(broken([&](json& j) { j.erase(key); }).find("invalid_format"), std::string::npos) << key;
  EXPECT_FALSE(profile_from_json(json::array()));
}
