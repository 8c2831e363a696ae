#include "actors/client/prediction_rows.hpp"
#include "cluster/base/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

using namespace flywheel;
using nlohmann::json;
using ::testing::HasSubstr;

namespace {

model_signature customers() {
  model_signature s;
  s.target = "churn";
  s.inputs = {{"minutes", column_type::numeric, {}}, {"plan", column_type::categorical, {"no", "yes"}}};
  s.classes = {"no", "yes"};
  return s;
}

json rows(std::string_view text) {
  const auto r = rows_of_text(text, "rows", customers());
  EXPECT_TRUE(r) << r.error().to_string();
  return r ? *r : json();
}
std::string refusal(std::string_view text) {
  const auto r = rows_of_text(text, "rows", customers());
  EXPECT_FALSE(r);
  return r ? "" : r.error().to_string();
}
json word(const std::string& w) {
  const auto r = row_of_assignments({w}, customers());
  EXPECT_TRUE(r) << r.error().to_string();
  return r ? *r : json();
}

} // namespace

TEST(prediction_rows, words_fill_a_row_and_the_rest_is_missing) {
  const auto r = row_of_assignments({"minutes=12.5", "plan=yes"}, customers());
  ASSERT_TRUE(r);
  EXPECT_EQ(*r, json({{"minutes", 12.5}, {"plan", "yes"}}));
  EXPECT_EQ(word("plan=a=b").at("plan"), "a=b") << "only the first = divides";
  EXPECT_TRUE(word("plan=yes").at("minutes").is_null());
  EXPECT_TRUE(word("minutes=").at("minutes").is_null());
}

TEST(prediction_rows, a_wrong_word_is_named_with_what_was_meant) {
  const auto r = row_of_assignments({"minuts=3"}, customers());
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, errc::invalid_argument);
  EXPECT_THAT(r.error().to_string(), HasSubstr("minuts"));
  EXPECT_THAT(r.error().hint, HasSubstr("minutes"));
  EXPECT_THAT(row_of_assignments({"zzzzzzz=3"}, customers()).error().hint, HasSubstr("minutes, plan"));
  EXPECT_FALSE(row_of_assignments({"minutes"}, customers()));
}

TEST(prediction_rows, a_number_must_be_one) {
  for (const auto* w : {"minutes=many", "minutes=1,5", "minutes=0x10", "minutes=nan", "minutes=inf", "minutes=-infinity",
                        "minutes=1e999", "minutes=5 min"})
    EXPECT_FALSE(row_of_assignments({w}, customers())) << w;
  EXPECT_EQ(word("minutes= -1e3 ").at("minutes"), -1000.0);
}

TEST(prediction_rows, csv_comes_with_a_header_in_any_order) {
  const auto r = rows("plan,other,minutes\r\nyes,1,2.5\r\n\"n\"\"o\",\"a\nb\",\r\n");
  ASSERT_EQ(r.size(), 2u);
  EXPECT_EQ(r[0], json({{"minutes", 2.5}, {"plan", "yes"}}));
  EXPECT_EQ(r[1], json({{"minutes", nullptr}, {"plan", "n\"o"}}));
  EXPECT_EQ(rows("\xef\xbb\xbfplan\nyes")[0].at("plan"), "yes") << "a byte order mark is no part of a name";
}

TEST(prediction_rows, a_bad_record_is_named) {
  EXPECT_THAT(refusal("plan,minutes\nyes,1\nyes\n"), HasSubstr("record 2"));
  EXPECT_THAT(refusal("plan,minutes\nyes,x\n"), HasSubstr("minutes must be a number"));
  EXPECT_THAT(refusal("plan,minutes\n\"yes,1\n"), HasSubstr("quote"));
}

TEST(prediction_rows, json_comes_as_one_object_an_array_or_lines) {
  EXPECT_EQ(rows("{\n\"plan\": \"yes\"\n}").size(), 1u);
  EXPECT_EQ(rows("[{\"plan\":\"yes\"},{\"minutes\":1}]").size(), 2u);
  const auto lines = rows("{\"plan\":\"yes\"}\n\n{\"minutes\":1,\"unheard\":2}\n");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], json({{"minutes", 1}, {"plan", nullptr}}));
}

TEST(prediction_rows, a_bad_line_of_json_is_named) {
  EXPECT_THAT(refusal("{\"plan\":\"yes\"}\n{\"plan\":\n"), HasSubstr("rows:2"));
  EXPECT_THAT(refusal("[{\"plan\":\"yes\"}, 7]"), HasSubstr("row 2"));
  EXPECT_THAT(refusal("[{\"plan\":\"yes\"}"), HasSubstr("not a JSON array"));
  EXPECT_THAT(refusal("  \n"), HasSubstr("no rows"));
}

TEST(prediction_rows, deep_nesting_ends_no_program) {
  EXPECT_FALSE(rows_of_text(std::string(1'000'000, '['), "rows", customers()));
  EXPECT_FALSE(rows_of_text(std::string(1'000'000, '{'), "rows", customers()));
}

TEST(prediction_rows, a_file_that_is_absent_is_not_found) {
  EXPECT_EQ(rows_of_file("/nowhere/rows.csv", customers()).error().code, errc::not_found);
}
