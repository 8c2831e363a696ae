#include "cluster/base/text.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

using namespace flywheel;
using namespace std::chrono_literals;

TEST(text, a_typo_finds_its_word_and_a_stranger_does_not) {
  const std::vector<std::string> words{"trials", "wall_time", "slot_seconds"};
  EXPECT_EQ(nearest("trails", words), "trials");
  EXPECT_EQ(nearest("walltime", words), "wall_time");
  EXPECT_EQ(nearest("zebra", words), "");
  EXPECT_EQ(edit_distance("abcd", "abdc"), 1u); // a swap of neighbours is one slip of the hand
}

TEST(text, durations_need_a_unit) {
  EXPECT_EQ(*parse_duration("90s"), 90s);
  EXPECT_EQ(*parse_duration("1h30m"), 90min);
  EXPECT_EQ(*parse_duration(" 250ms "), 250ms);
  for (const auto* bad : {"", "10", "-5s", "5 parsecs", "1h30", "nans", "1e400s"})
    EXPECT_FALSE(parse_duration(bad)) << bad;
  EXPECT_EQ(parse_duration("1e12d").error().code, errc::too_large);
}

TEST(text, bytes_know_decimal_and_binary_units) {
  EXPECT_EQ(*parse_bytes("256MiB"), 256u << 20);
  EXPECT_EQ(*parse_bytes("2GB"), 2'000'000'000u);
  EXPECT_EQ(*parse_bytes("17"), 17u);
  EXPECT_FALSE(parse_bytes("17 apples"));
}

TEST(text, utf8_is_judged_strictly) {
  EXPECT_TRUE(is_valid_utf8("grüße 漢字 🎉"));
  EXPECT_FALSE(is_valid_utf8("\xc0\xaf"));         // overlong
  EXPECT_FALSE(is_valid_utf8("\xed\xa0\x80"));     // surrogate
  EXPECT_FALSE(is_valid_utf8("abc\xe2\x82"));      // cut
  EXPECT_FALSE(is_valid_utf8("\xf5\x80\x80\x80")); // beyond U+10FFFF
}

TEST(text, printable_is_safe_for_a_terminal_and_cuts_between_characters) {
  EXPECT_EQ(printable(std::string_view{"a\x1b[2J\0b", 7}), "a\\x1b[2J\\x00b");
  EXPECT_EQ(printable("ääää", 5), "ää...");
}

TEST(text, numbers_read_back_as_themselves) {
  for (const double x : {0.1, 1e300, -2.5, 123456789.0, 5e-324})
    EXPECT_EQ(std::strtod(format_number(x).c_str(), nullptr), x);
  EXPECT_EQ(format_duration(3723s), "1h02m");
  EXPECT_EQ(format_percent(0.9592), "95.92 %");
}
