#include "cluster/base/random.hpp"
#include "cluster/goal/row_expression.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace flywheel {
namespace {

const std::vector<std::string> names{"a", "b", "c", "plan", "note", "odd name", "none", "total.day"};

/// a = 2, b = 3, c = 5, plan = "yes", note = "Grüße", odd name = 7, none = null, total.day = "12.5" (text)
std::vector<row_cell> row() {
  return {row_cell::of(2.0),     row_cell::of(3.0),  row_cell::of(5.0), row_cell::of("yes"),
          row_cell::of("Gr\xc3\xbc\xc3\x9f""e"), row_cell::of(7.0), row_cell::null(),   row_cell::of("12.5")};
}

struct truth_case {
  const char* text;
  truth expected;
};
class truths : public testing::TestWithParam<truth_case> {};

TEST_P(truths, of_one_row) {
  const auto e = row_expression::parse(GetParam().text);
  ASSERT_TRUE(e) << e.error().to_string();
  const auto bound = e->bind(names);
  ASSERT_TRUE(bound) << bound.error().to_string();
  EXPECT_EQ(bound->evaluate(row()), GetParam().expected) << GetParam().text;
}

constexpr auto yes = truth::yes, no = truth::no, unknown = truth::unknown;
INSTANTIATE_TEST_SUITE_P(
    table, truths,
    testing::Values(
        truth_case{"a <= b", yes}, truth_case{"a + b == c", yes}, truth_case{"a is null or b > 0", yes},
        truth_case{"a > b", no}, truth_case{"a >= 2", yes}, truth_case{"a < 2", no}, truth_case{"a != 2", no},
        truth_case{"1 + 2 * a == c", yes}, truth_case{"(1 + 2) * a == 6", yes}, truth_case{"-a + -(-b) == 1", yes},
        truth_case{"c - b - a == 0", yes}, truth_case{"12 / b / a == 2", yes}, truth_case{"c % b == a", yes},
        truth_case{"2e0 == a", yes}, truth_case{".5 * a == 1", yes},
        truth_case{"abs(a - b) == 1 and round(2.5) == 3 and floor(a / b) == 0 and ceil(a / b) == 1", yes},
        truth_case{"min(a, b, c) == 2 and max(a, b, c) == 5", yes},
        truth_case{"length(note) == 5", yes}, truth_case{"length(plan) > 3", no},
        truth_case{"plan == \"yes\"", yes}, truth_case{"plan == 'no'", no}, truth_case{"plan < \"zzz\"", yes},
        truth_case{"`odd name` == 7", yes}, truth_case{"total.day == 12.5", yes}, truth_case{"total.day + 1 > 13", yes},
        truth_case{"plan in [\"no\", \"yes\"]", yes}, truth_case{"plan not in ['no', 'yes']", no},
        truth_case{"a in [-2, 2]", yes}, truth_case{"a in [1, 3]", no}, truth_case{"total.day in [12.5]", yes},
        truth_case{"a in [\"2\"]", yes}, truth_case{"plan in [true]", yes},
        // null makes things unknown, except where it cannot change the answer
        truth_case{"none > 0", unknown}, truth_case{"none == none", unknown}, truth_case{"none + 1 > 0", unknown},
        truth_case{"none is null", yes}, truth_case{"none is not null", no}, truth_case{"a is not null", yes},
        truth_case{"none > 0 and a > b", no}, truth_case{"none > 0 or a < b", yes}, truth_case{"none > 0 or a > b", unknown},
        truth_case{"none > 0 and a < b", unknown}, truth_case{"not (none > 0)", unknown}, truth_case{"none in [1]", unknown},
        truth_case{"none not in [1]", unknown}, truth_case{"min(none, a) == 2", unknown}, truth_case{"length(none) == 0", unknown},
        // a + none is null, and that can be asked
        truth_case{"a + none is null", yes}, truth_case{"a / 0 is null", yes}, truth_case{"a % 0 is null", yes},
        truth_case{"plan + 1 is null", yes}, truth_case{"1e308 * 10 * a is null", yes},
        // mixed kinds
        truth_case{"plan == 1", no}, truth_case{"plan != 1", yes}, truth_case{"plan < 1", unknown},
        truth_case{"plan == true", yes}, truth_case{"plan", yes}, truth_case{"not plan", no}, truth_case{"a", unknown},
        truth_case{"a == true", unknown}, truth_case{"note", unknown},
        // conditions as values: both or neither
        truth_case{"(plan == \"yes\") == (a > 0)", yes}, truth_case{"(plan == \"yes\") != (a > 0)", no},
        truth_case{"(none > 1) == (a > 0)", unknown},
        // precedence: not, and, or; keywords in any case
        truth_case{"a > b or a < b and plan == 'yes'", yes}, truth_case{"not a > b and not a == b", yes},
        truth_case{"NOT a > b AND a IS NOT NULL OR FALSE", yes}, truth_case{"not not a == 2", yes},
        truth_case{"plan == \"y\\es\"", yes}, truth_case{" \t\n a\n==\n2 ", yes}));

struct refusal {
  const char* text;
  std::size_t column; ///< 1-based
  const char* says;
};
class refusals : public testing::TestWithParam<refusal> {};

TEST_P(refusals, are_placed_and_explained) {
  std::size_t offset = 9999;
  const auto e = row_expression::parse(GetParam().text, &offset);
  ASSERT_FALSE(e) << GetParam().text;
  EXPECT_EQ(offset + 1, GetParam().column) << GetParam().text << ": " << e.error().to_string();
  EXPECT_EQ(e.error().where, "column " + std::to_string(GetParam().column));
  EXPECT_NE(e.error().to_string().find(GetParam().says), std::string::npos) << e.error().to_string();
  EXPECT_EQ(e.error().code, errc::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(
    table, refusals,
    testing::Values(refusal{"", 1, "empty"}, refusal{"  ", 3, "empty"}, refusal{"a <", 4, "missing"},
                    refusal{"a = b", 3, "write '=='"}, refusal{"a <> b", 3, "write '!='"}, refusal{"a && b", 3, "write 'and'"},
                    refusal{"a || b", 3, "write 'or'"}, refusal{"!a", 1, "write 'not'"}, refusal{"a < b < c", 7, "do not chain"},
                    refusal{"a == null", 6, "is null"}, refusal{"a is b", 6, "null"}, refusal{"a in (1, 2)", 6, "list"},
                    refusal{"a in [1, 2", 11, "not closed"}, refusal{"a in [b]", 7, "quotes"}, refusal{"a in [null]", 7, "x is null or"},
                    refusal{"a in []", 7, "numbers and quoted"}, refusal{"(a > 1", 7, "')' is missing"},
                    refusal{"a > 1)", 6, "not expected"}, refusal{"a > 1 b > 2", 7, "'and' or 'or'"},
                    refusal{"a + 1", 1, "not a condition"}, refusal{"\"x\"", 1, "not a condition"}, refusal{"1 > \"x\"", 3, "number with a text"},
                    refusal{"a + \"x\" > 1", 5, "needs numbers"}, refusal{"(a > 1) + 1 > 1", 2, "needs numbers"},
                    refusal{"(a > 1) < (b > 1)", 9, "order conditions"}, refusal{"a > 1 and 3", 11, "joins conditions"},
                    refusal{"a == \"x", 6, "never closed"}, refusal{"`` > 1", 1, "name is missing"}, refusal{"2x > 1", 1, "back quotes"},
                    refusal{"a > 1e999", 5, "too large"}, refusal{"a ~ b", 3, "not understood"}, refusal{"lenght(a) > 1", 1, "did you mean 'length'"},
                    refusal{"abs(a, b) > 1", 8, "one value"}, refusal{"min(a) > 1", 1, "two values"}, refusal{"true", 1, "every row"},
                    refusal{"and > 1", 1, "`and`"}, refusal{"a not b", 7, "followed by 'in'"}, refusal{"length(3) > 1", 8, "needs a text"},
                    refusal{"(a > 1) == 3", 9, "compares"}, refusal{"* a", 1, "missing before"}));

TEST(row_expression, lists_each_column_once_with_its_place) {
  const auto e = row_expression::parse("a <= b and `odd name` > a");
  ASSERT_TRUE(e);
  ASSERT_EQ(e->columns().size(), 3U);
  EXPECT_EQ(e->columns()[0].name, "a");
  EXPECT_EQ(e->columns()[1].offset, 5U);
  EXPECT_EQ(e->columns()[2].name, "odd name");
}

TEST(row_expression, lists_the_texts_a_column_is_compared_with) {
  const auto e = row_expression::parse("plan == \"Yes\" or 'x' != b or plan in [\"p\", 3] or a < \"z\"");
  ASSERT_TRUE(e) << e.error().to_string();
  ASSERT_EQ(e->literals().size(), 3U);
  EXPECT_EQ(e->literals()[0].column, "plan");
  EXPECT_EQ(e->literals()[0].literal, "Yes");
  EXPECT_EQ(e->literals()[0].offset, 8U);
  EXPECT_EQ(e->literals()[1].column, "b");
  EXPECT_EQ(e->literals()[2].literal, "p");
}

TEST(row_expression, binding_to_absent_columns_names_the_nearest) {
  const auto e = row_expression::parse("plam == 'yes'");
  ASSERT_TRUE(e);
  const auto bound = e->bind(names);
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code, errc::not_found);
  EXPECT_NE(bound.error().to_string().find("did you mean 'plan'"), std::string::npos);
}

TEST(row_expression, asks_only_for_the_cells_it_uses) {
  const auto bound = row_expression::parse("b > a")->bind(names);
  ASSERT_TRUE(bound);
  std::map<std::size_t, int> asked;
  EXPECT_EQ(bound->evaluate_with([&](std::size_t i) { ++asked[i]; return row()[i]; }), truth::yes);
  EXPECT_EQ(asked, (std::map<std::size_t, int>{{0, 1}, {1, 1}}));
}

TEST(row_expression, rules_and_slices_read_unknown_differently) {
  EXPECT_FALSE(breaks(truth::unknown));
  EXPECT_FALSE(belongs(truth::unknown));
  EXPECT_TRUE(breaks(truth::no));
  EXPECT_TRUE(belongs(truth::yes));
}

TEST(row_expression, nan_and_infinite_cells_are_null) {
  const auto e = row_expression::parse("a is null");
  ASSERT_TRUE(e);
  for (const double x : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const row_cell c = row_cell::of(x);
    EXPECT_EQ(e->evaluate({&c, 1}), truth::yes);
  }
}

TEST(row_expression, hostile_depth_and_length_are_refused_not_suffered) {
  for (const std::string& text :
       {std::string(4000, '(') + "a", std::string(4000, '-') + "a > 1", std::string(4090, ' ') + "a > 1 and b > 2",
        [] { std::string s; for (int i = 0; i < 900; ++i) s += "not "; return s + "a"; }(),
        [] { std::string s = "1"; for (int i = 0; i < 900; ++i) s = "1+(" + s; return s.substr(0, 3000); }(),
        [] { std::string s = "a > 1"; for (int i = 0; i < 200; ++i) s += " or c" + std::to_string(i) + " > 1"; return s; }()}) {
    const auto e = row_expression::parse(text);
    EXPECT_FALSE(e) << text.substr(0, 20);
  }
  std::string wide = "a > 0";
  for (int i = 0; i < 300; ++i)
    wide += " or a > 0"; // wide is fine: the stack stays flat
  EXPECT_TRUE(row_expression::parse(wide));
}

TEST(row_expression, any_bytes_parse_or_are_refused) {
  random_source random{42};
  const std::vector<std::string> pieces{"a", "b", "plan", "`odd name`", "1", "2.5", "\"x\"", "'yes'", "and", "or", "not", "is", "null",
                                        "in", "[", "]", "(", ")", "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", ",",
                                        "abs", "min", "length", "true", "\"", "`", "\\", "\xff", std::string(1, '\0')};
  int good = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (std::uint64_t n = random.below(12); n > 0; --n)
      text += pieces[random.below(pieces.size())] + (random.below(4) > 0 ? " " : "");
    std::size_t offset = 0;
    const auto e = row_expression::parse(text, &offset);
    if (!e) {
      EXPECT_LE(offset, text.size());
      EXPECT_FALSE(e.error().what.empty());
      continue;
    }
    const auto bound = e->bind(names);
    if (bound) {
      ++good;
      const truth t = bound->evaluate(row());
      // not x is the opposite of x, whatever x is
      const auto opposite = row_expression::parse("not (" + text + ")");
      ASSERT_TRUE(opposite) << text;
      const truth u = opposite->bind(names)->evaluate(row());
      EXPECT_TRUE(t == truth::unknown ? u == truth::unknown : u == (t == truth::yes ? truth::no : truth::yes)) << text;
    }
  }
  EXPECT_GT(good, 100);
}

} // namespace
} // namespace flywheel
