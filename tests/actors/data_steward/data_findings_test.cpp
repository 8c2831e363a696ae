#include "actors/data_steward/data_findings.hpp"

#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace flywheel;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

namespace {

column numbers(std::string name, std::vector<double> xs) {
  column c;
  c.name = std::move(name);
  c.numbers = std::move(xs);
  return c;
}
column codes(std::string name, std::vector<std::int32_t> xs, std::int32_t categories) {
  column c;
  c.name = std::move(name);
  c.type = column_type::categorical;
  c.codes = std::move(xs);
  for (std::int32_t i = 0; i < categories; ++i)
    c.categories.push_back("k" + std::to_string(i));
  return c;
}

/// 1,000 rows with a target of one in four; what the other columns are is up to the test.
struct customers : testing::Test {
  customers() : random(5) {
    for (std::uint64_t i = 0; i < 1000; ++i) {
      t.row_ids.push_back(i + 1);
      y.push_back(random.below(4) == 0);
      noise.push_back(random.normal());
    }
    t.columns.push_back(codes("left", y, 2));
  }
  std::vector<data_finding> leaks(column c) {
    t.columns.push_back(c);
    auto found = find_leaks(t, "left", true, {c.name});
    t.columns.pop_back();
    return found;
  }
  random_source random;
  table t;
  std::vector<std::int32_t> y;
  std::vector<double> noise;
};

} // namespace

TEST_F(customers, a_copy_of_the_target_is_left_out_whatever_its_coding) {
  std::vector<std::int32_t> turned;
  std::vector<double> as_number;
  for (const auto v : y) {
    turned.push_back(1 - v);
    as_number.push_back(v == 1 ? 17.5 : -3);
  }
  for (const auto& c : {codes("copy", y, 2), codes("turned", turned, 2), numbers("as_number", as_number)}) {
    const auto found = leaks(c);
    ASSERT_THAT(found, SizeIs(1)) << c.name;
    EXPECT_TRUE(found[0].left_out);
    EXPECT_EQ(found[0].level, severity::problem);
    EXPECT_THAT(found[0].text, HasSubstr(c.name));
  }
}

TEST_F(customers, near_perfect_predictors_are_named_but_kept) {
  auto nearly = y;
  nearly[17] = 1 - nearly[17];
  const auto by_rule = leaks(codes("nearly", nearly, 2));
  ASSERT_THAT(by_rule, SizeIs(1));
  EXPECT_FALSE(by_rule[0].left_out);
  EXPECT_THAT(by_rule[0].text, HasSubstr("99.90 %"));
  std::vector<double> apart;
  for (std::size_t i = 0; i < y.size(); ++i)
    apart.push_back(noise[i] + (y[i] == 1 ? 9 : 0));
  EXPECT_THAT(leaks(numbers("apart", apart)), SizeIs(1));
}

TEST_F(customers, ordinary_columns_and_identifiers_are_no_leaks) {
  EXPECT_THAT(leaks(numbers("noise", noise)), IsEmpty());
  std::vector<std::int32_t> each;
  for (std::int32_t i = 0; i < 1000; ++i)
    each.push_back(i);
  EXPECT_THAT(leaks(codes("name", each, 1000)), IsEmpty()); // pure per value, but only because each value is new
  std::vector<double> useful;
  for (std::size_t i = 0; i < y.size(); ++i)
    useful.push_back(noise[i] + y[i]);
  EXPECT_THAT(leaks(numbers("useful", useful)), IsEmpty());
}

TEST_F(customers, a_regression_target_in_another_unit_is_a_leak) {
  std::vector<double> miles;
  for (const double x : noise)
    miles.push_back(x * 0.621371 + 3);
  t.columns = {numbers("km", noise), numbers("miles", miles), codes("left", y, 2)};
  const auto found = find_leaks(t, "km", false, {"miles", "left"});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].column, "miles");
}

TEST_F(customers, idle_columns_are_left_out_with_their_reason) {
  std::vector<double> rising, gaps;
  for (int i = 0; i < 1000; ++i) {
    rising.push_back(100'000 + 3 * i);
    gaps.push_back(i % 2 == 0 ? 1 : std::nan(""));
  }
  std::vector<std::int32_t> names;
  for (std::int32_t i = 0; i < 1000; ++i)
    names.push_back(i % 900);
  t.columns = {numbers("empty", std::vector<double>(1000, std::nan(""))), codes("void", std::vector<std::int32_t>(1000, -1), 0),
               numbers("same", std::vector<double>(1000, 4)), numbers("rising", rising), codes("names", names, 900),
               numbers("gaps", gaps), numbers("noise", noise), codes("left", y, 2)};
  std::vector<std::string> kinds;
  for (const auto& f : find_idle_columns(t, {"empty", "void", "same", "rising", "names", "gaps", "noise", "left"})) {
    EXPECT_TRUE(f.left_out);
    kinds.push_back(f.column + " " + f.kind);
  }
  EXPECT_THAT(kinds, testing::ElementsAre("empty all-null", "void all-null", "same constant", "rising identifier", "names identifier"));
}

TEST_F(customers, a_charge_that_is_a_rate_times_minutes_is_told_with_the_rate) {
  std::vector<double> minutes, charge, fee;
  for (const double x : noise) {
    minutes.push_back(std::round(std::abs(x) * 1000) / 10);
    charge.push_back(std::round(minutes.back() * 17) / 100);
    fee.push_back(minutes.back() * 2 + 30);
  }
  t.columns = {numbers("minutes", minutes), numbers("charge", charge), numbers("noise", noise), numbers("fee", fee)};
  const auto found = find_redundant(t, {"minutes", "charge", "noise", "fee"});
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_THAT(found[0].text, HasSubstr("'charge' is 0.17 * 'minutes' (correlation"));
  EXPECT_THAT(found[1].text, HasSubstr("'fee' is 2 * 'minutes' + 30"));
  EXPECT_FALSE(found[0].left_out);
}

TEST(data_findings, spellings_of_one_word_are_grouped_and_the_commonest_proposed) {
  const auto found = find_spellings("answer", {{"Yes", 5}, {"yes ", 2}, {"YES", 9}, {"no", 3}, {"new_york", 1}, {"New York", 4}});
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_THAT(found[0].text, HasSubstr("'New York' (4), 'new_york' (1)"));
  EXPECT_THAT(found[1].text, HasSubstr("'YES' (9), 'Yes' (5), 'yes ' (2)"));
  EXPECT_THAT(found[1].advice, HasSubstr("'YES'"));
  EXPECT_THAT(find_spellings("x", {{"a", 1}, {"b", 1}}), IsEmpty());
}

TEST(data_findings, duplicates_are_told_exact_and_near) {
  table t;
  t.row_ids = {1, 2, 3, 4, 5, 6};
  t.columns = {numbers("x", {1.5, 1.5, 1.50001, 99, 1.5, std::nan("")}), codes("k", {0, 0, 0, 0, 1, -1}, 2)};
  const auto d = find_duplicates(t, {"x", "k"});
  EXPECT_EQ(d.exact, 1u);
  EXPECT_EQ(d.near, 1u);
  EXPECT_EQ(d.signature[0], d.signature[1]);
  EXPECT_NE(d.signature[0], d.signature[2]);
}
