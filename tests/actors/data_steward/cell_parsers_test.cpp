#include "actors/data_steward/cell_parsers.hpp"

#include <gtest/gtest.h>

using namespace flywheel;

TEST(cell_parsers, integers_are_whole_and_fit) {
  EXPECT_EQ(parse_integer("-9223372036854775808"), std::int64_t{-9223372036854775807} - 1);
  EXPECT_EQ(parse_integer("+7"), 7);
  EXPECT_EQ(parse_integer("007"), 7);
  for (const auto* bad : {"", "-", "+", "+-1", "1.0", "1e3", " 1", "1 ", "9223372036854775808", "0x10", "१"})
    EXPECT_FALSE(parse_integer(bad)) << bad;
}

TEST(cell_parsers, numbers_are_finite_and_correctly_rounded) {
  EXPECT_EQ(parse_number("0.1"), 0.1);
  EXPECT_EQ(parse_number("-2.5e-3"), -0.0025);
  EXPECT_EQ(parse_number("9007199254740993"), 9007199254740992.0); // ties to even
  EXPECT_EQ(parse_number("5e-324"), 5e-324);
  for (const auto* bad : {"", ".", "-", "nan", "inf", "-infinity", "1e999", "1,5", "1.5 ", "1.5.5", "0x1p3", "+-1"})
    EXPECT_FALSE(parse_number(bad)) << bad;
}

TEST(cell_parsers, booleans_in_the_usual_spellings) {
  for (const auto* yes : {"true", "TRUE", "yes", "Y", "t", "1"})
    EXPECT_EQ(parse_boolean(yes), true) << yes;
  for (const auto* no : {"false", "No", "n", "F", "0"})
    EXPECT_EQ(parse_boolean(no), false) << no;
  for (const auto* bad : {"", "2", "truth", "ja"})
    EXPECT_FALSE(parse_boolean(bad)) << bad;
}

TEST(cell_parsers, timestamps_know_calendars_and_zones) {
  EXPECT_EQ(parse_timestamp("1970-01-01"), 0);
  EXPECT_EQ(parse_timestamp("1970-01-01T00:00:01Z"), 1'000'000'000);
  EXPECT_EQ(parse_timestamp("1970-01-01 01:00:00+01:00"), 0);
  EXPECT_EQ(parse_timestamp("1969-12-31T23:30-0030"), 0);
  EXPECT_EQ(parse_timestamp("1970-01-01T00:00:00.5"), 500'000'000);
  EXPECT_EQ(parse_timestamp("2024-02-29").has_value(), true);
  for (const auto* bad : {"", "2023-02-29", "2026-13-01", "2026-1-1", "2026-11-21T25:00", "2026-11-21T07:30:11.", "2026-11-21Z",
                          "2026-11-21T07:30 Z", "1500-01-01", "yesterday"})
    EXPECT_FALSE(parse_timestamp(bad)) << bad;
}
