#include "deploy/server/row_reader.hpp"

#include "cluster/base/random.hpp"
#include "tests/deploy/server/small_models.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <cmath>

using namespace flywheel;
using testing::HasSubstr;
using testing_models::customer_signature;

namespace {

const row_layout& customers() {
  static const row_layout layout{customer_signature()};
  return layout;
}
row_batch read(std::string_view body, const row_layout& layout = customers()) {
  row_batch b;
  const auto s = read_rows(layout, body, b);
  EXPECT_TRUE(s.ok()) << body << ": " << s.error().to_string();
  return b;
}
std::string refusal(std::string_view body, const row_layout& layout = customers()) {
  row_batch b;
  const auto s = read_rows(layout, body, b);
  EXPECT_FALSE(s.ok()) << body;
  return s.ok() ? "" : s.error().to_string();
}

} // namespace

TEST(row_reader, reads_a_row_in_any_order_with_blanks_and_escapes) {
  for (const auto* body : {R"({"minutes":265.1,"calls":3,"plan":"yes","area":"415"})",
                           " { \"area\" : \"4\\u00315\" ,\n\"plan\":\"y\\u0065s\",\t\"calls\": 3e0, \"min\\u0075tes\": 2651e-1 }\r\n"}) {
    const auto b = read(body);
    ASSERT_EQ(b.rows, 1U);
    EXPECT_FALSE(b.array);
    EXPECT_THAT(b.features, testing::ElementsAre(265.1F, 3.0F, 1.0F, 1.0F));
    EXPECT_TRUE(b.ids[0].empty());
    EXPECT_TRUE(b.unknown_inputs.empty());
  }
}

TEST(row_reader, null_is_missing_and_an_unknown_category_is_told_apart_and_counted) {
  const auto b = read(R"({"minutes":null,"calls":-0.5,"plan":"maybe","area":null})");
  EXPECT_TRUE(std::isnan(b.features[0]));
  EXPECT_EQ(b.features[1], -0.5F);
  EXPECT_EQ(b.features[2], unseen_category);
  EXPECT_TRUE(std::isnan(b.features[3]));
  EXPECT_THAT(b.unknown_inputs, testing::ElementsAre(2U));
}

TEST(row_reader, numbers_stand_for_categories_that_are_numbers) {
  EXPECT_EQ(read(R"({"minutes":1,"calls":1,"plan":"no","area":415})").features[3], 1.0F);
  EXPECT_EQ(read(R"({"minutes":1,"calls":1,"plan":"no","area":510})").unknown_inputs.size(), 1U);
  EXPECT_THAT(refusal(R"({"minutes":1,"calls":1,"plan":1,"area":415})"), HasSubstr("'plan' must be a string or null, not a number"));
}

TEST(row_reader, wrapped_rows_and_arrays_carry_ids) {
  const auto one = read(R"({"id":"c-7","features":{"minutes":1,"calls":2,"plan":"no","area":"408"}})");
  EXPECT_EQ(one.ids[0], "c-7");
  EXPECT_THAT(one.features, testing::ElementsAre(1, 2, 0, 0));
  const auto many = read(R"([{"minutes":1,"calls":2,"plan":"no","area":"408","id":12},
                             {"features":{"area":"408","plan":"no","calls":4,"minutes":3},"id":"b"}])");
  EXPECT_TRUE(many.array);
  ASSERT_EQ(many.rows, 2U);
  EXPECT_EQ(many.ids[0], "12");
  EXPECT_EQ(many.ids[1], "b");
  EXPECT_THAT(many.features, testing::ElementsAre(1, 2, 0, 0, 3, 4, 0, 0));
  EXPECT_EQ(read("[]").rows, 0U);
}

TEST(row_reader, a_batch_forgets_the_request_before) {
  row_batch b;
  ASSERT_TRUE(read_rows(customers(), R"([{"id":"x","minutes":1,"calls":2,"plan":"?","area":"408"}])", b).ok());
  ASSERT_TRUE(read_rows(customers(), R"({"minutes":null,"calls":2,"plan":"no","area":"408"})", b).ok());
  EXPECT_FALSE(b.array);
  EXPECT_TRUE(b.ids[0].empty());
  EXPECT_TRUE(b.unknown_inputs.empty());
  EXPECT_TRUE(std::isnan(b.features[0]));
}

TEST(row_reader, an_input_called_id_is_an_input_and_the_id) {
  auto s = customer_signature();
  s.inputs[1].name = "id";
  const row_layout layout{s};
  const auto flat = read(R"({"minutes":1,"id":5,"plan":"no","area":"408"})", layout);
  EXPECT_EQ(flat.features[1], 5.0F);
  EXPECT_EQ(flat.ids[0], "5");
  const auto wrapped = read(R"({"id":9,"features":{"minutes":1,"id":5,"plan":"no","area":"408"}})", layout);
  EXPECT_EQ(wrapped.features[1], 5.0F);
  EXPECT_EQ(wrapped.ids[0], "9");
  EXPECT_TRUE(std::isnan(read(R"({"minutes":1,"id":null,"plan":"no","area":"408"})", layout).features[1]));
}

TEST(row_reader, names_of_the_other_model_are_skipped_whatever_they_hold) {
  const row_layout layout{customer_signature(), {"new_input"}};
  EXPECT_EQ(read(R"({"minutes":1,"new_input":{"a":[1,"x",null,true]},"calls":2,"plan":"no","area":"408"})", layout).rows, 1U);
}

TEST(row_reader, refusals_name_the_input_and_what_is_near) {
  const std::string rest = R"(,"calls":2,"plan":"no","area":"408"})";
  EXPECT_THAT(refusal(R"({"minuets":1)" + rest), HasSubstr("no input 'minuets' [invalid_argument]; did you mean 'minutes'?"));
  EXPECT_THAT(refusal(R"({"churn":"no","minutes":1)" + rest), HasSubstr("leave it out"));
  EXPECT_THAT(refusal(R"({"minutes":"1")" + rest), HasSubstr("'minutes' must be a number or null, not a string"));
  EXPECT_THAT(refusal(R"({"minutes":[1])" + rest), HasSubstr("not an array"));
  EXPECT_THAT(refusal(R"({"minutes":true)" + rest), HasSubstr("not true or false"));
  EXPECT_THAT(refusal(R"({"minutes":1e39)" + rest), HasSubstr("'minutes': 1e39 is out of range"));
  EXPECT_THAT(refusal(R"({"minutes":1e999)" + rest), HasSubstr("1e999 is out of range"));
  EXPECT_THAT(refusal(R"({"minutes":1,"minutes":1)" + rest), HasSubstr("'minutes' is given twice"));
  EXPECT_THAT(refusal(R"({"minutes":1,"calls":2})"), HasSubstr("'plan', 'area' are absent"));
  EXPECT_THAT(refusal(R"({})"), HasSubstr("are absent"));
  EXPECT_THAT(refusal(R"([{"minutes":1,"calls":2,"plan":"no","area":"408"},{"minutes":1,"calls":2,"plan":"no"}])"),
              HasSubstr("row 2: 'area' is absent"));
  EXPECT_THAT(refusal(R"({"minutes":1,"features":{"minutes":1,"calls":2,"plan":"no","area":"408"}})"), HasSubstr("beside"));
  EXPECT_THAT(refusal(R"({"features":{"minutes":1,"calls":2,"plan":"no","area":"408"},"minutes":1})"), HasSubstr("beside"));
  EXPECT_THAT(refusal(R"({"id":"a","id":"b","minutes":1)" + rest), HasSubstr("'id' is given twice"));
  EXPECT_THAT(refusal(R"({"id":"","minutes":1)" + rest), HasSubstr("'id' must have 1 to"));
  EXPECT_THAT(refusal("{\"id\":\"\xff\",\"minutes\":1" + rest), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal(R"({"id":{},"minutes":1)" + rest), HasSubstr("'id' must be a string or a number"));
}

TEST(row_reader, what_is_not_json_is_refused_with_the_byte) {
  for (const auto* body :
       {"", " ", "{", "[", "nul", "1", "\"x\"", "{\"minutes\"", "{\"minutes\":", "{\"minutes\":1", "{\"minutes\":1,", "{minutes:1}",
        "{\"minutes\":01}", "{\"minutes\":.5}", "{\"minutes\":1.}", "{\"minutes\":+1}", "{\"minutes\":1e}", "{\"minutes\":-}",
        "{\"minutes\":NaN}", "{\"minutes\":Infinity}", "{\"minutes\":0x10}", "{\"minutes\":nul}", "{\"min\\x\":1}", "{\"min\\ud800\":1}",
        "{\"min\\udc00\":1}", "{\"min\\u12g4\":1}", "{\"min\nutes\":1}", "{\"minutes", "{\"minutes\\", "{\"minutes\":1 \"calls\":2}",
        "[{}", "[,]", R"({"minutes":1,"calls":2,"plan":"no","area":"408"}x)", R"({"minutes":1,"calls":2,"plan":"no","area":"408",})",
        R"([{"minutes":1,"calls":2,"plan":"no","area":"408"},])"})
    EXPECT_THAT(refusal(body), HasSubstr("byte ")) << body;
  EXPECT_FALSE(refusal(std::string_view{"{\0}", 3}).empty());
}

TEST(row_reader, a_deep_value_is_refused_before_the_stack_ends) {
  const row_layout layout{customer_signature(), {"other"}};
  EXPECT_THAT(refusal("{\"other\":" + std::string(1'000'000, '['), layout), HasSubstr("nested deeper"));
  EXPECT_THAT(refusal("{\"other\":" + std::string(17, '{'), layout), HasSubstr("a name in double quotes"));
}

TEST(row_reader, too_many_rows_are_refused) {
  std::string body = "[";
  for (std::size_t i = 0; i <= rows_per_request_max; ++i)
    body += R"({"minutes":1,"calls":2,"plan":"no","area":"408"},)";
  body.back() = ']';
  row_batch b;
  EXPECT_EQ(read_rows(customers(), body, b).error().code, errc::too_large);
}

TEST(row_reader, every_number_is_the_nearest_float_that_the_library_gives) {
  const row_layout layout{testing_models::double_model{}.signature()};
  random_source random{11};
  for (int i = 0; i < 20'000; ++i) {
    char text[64];
    const double x = (random.uniform() - 0.5) * std::pow(10.0, random.uniform(-30, 30));
    const auto end = i % 3 == 0 ? std::to_chars(text, text + sizeof text, x, std::chars_format::fixed, static_cast<int>(random.below(12)))
                                : std::to_chars(text, text + sizeof text, x);
    if (end.ec != std::errc{})
      continue;
    const std::string number{text, end.ptr};
    double expected = 0;
    std::from_chars(number.data(), number.data() + number.size(), expected);
    const auto b = read("{\"x\":" + number + "}", layout);
    ASSERT_EQ(b.features[0], static_cast<float>(expected)) << number;
  }
}

// Bytes of a good request changed, cut and doubled at random: every one is either read or refused with a sentence, and
// the sanitizers watch.
TEST(row_reader, damaged_requests_never_do_worse_than_be_refused) {
  const std::string good = R"([{"id":"a\u00e9\n","minutes":265.1,"calls":3,"plan":"yes","area":415},{"features":{"minutes":null,"calls":-1e-3,"plan":"no","area":"408"},"id":7}])";
  random_source random{3};
  row_batch b;
  int refused = 0;
  for (int i = 0; i < 60'000; ++i) {
    std::string body = good;
    for (auto n = 1 + random.below(4); n > 0; --n) {
      const auto at = random.below(body.size());
      switch (random.below(4)) {
      case 0: body[at] = static_cast<char>(random.below(256)); break;
      case 1: body.erase(at, random.below(9)); break;
      case 2: body.insert(at, body.substr(random.below(body.size()), random.below(20))); break;
      default: body[at] = "{}[]\",:\\0eE+-. n"[random.below(16)];
      }
      if (body.empty())
        body = "x";
    }
    const auto s = read_rows(customers(), body, b);
    if (!s) {
      ++refused;
      ASSERT_FALSE(s.error().what.empty());
    } else {
      ASSERT_EQ(b.features.size(), b.rows * customers().size());
    }
  }
  EXPECT_GT(refused, 20'000);
}

TEST(row_reader, labels_are_read_or_refused) {
  std::vector<label_entry> labels;
  ASSERT_TRUE(read_labels(R"([{"id":"a","label":"yes"},{"label":1.5,"id":7},{"id":"c","label":true}])", labels).ok());
  ASSERT_EQ(labels.size(), 3U);
  EXPECT_EQ(labels[1].id, "7");
  EXPECT_EQ(labels[1].label, "1.5");
  EXPECT_EQ(labels[2].label, "true");
  for (const auto* body : {"", "{}", R"({"id":"a"})", R"({"label":"x"})", R"({"id":"a","label":null})", R"({"id":"a","label":[]})",
                           R"({"id":"a","label":"x","more":1})", R"({"id":"a","label":"x","id":"b"})", R"([{"id":"a","label":"x"})"})
    EXPECT_FALSE(read_labels(body, labels).ok()) << body;
}

TEST(row_reader, depth_counts_brackets_outside_strings) {
  EXPECT_EQ(json_depth(R"({"a":[1,{"b":"[[[[\"[["}]})", 100), 3U);
  EXPECT_EQ(json_depth(std::string(1'000'000, '['), 16), 17U);
}
