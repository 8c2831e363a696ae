#include "actors/client/terminal.hpp"

#include <gtest/gtest.h>

#include <map>

namespace flywheel {
namespace {

bool colour(bool terminal, bool refused, std::map<std::string, std::string, std::less<>> variables) {
  return wants_colour({terminal, refused, [&](std::string_view name) -> std::optional<std::string> {
                         const auto i = variables.find(name);
                         return i == variables.end() ? std::nullopt : std::optional(i->second);
                       }});
}

TEST(terminal, colour_is_for_terminals_that_can_and_people_who_want) {
  const std::string xterm = "xterm-256color";
  EXPECT_TRUE(colour(true, false, {{"TERM", xterm}}));
  EXPECT_FALSE(colour(false, false, {{"TERM", xterm}}));
  EXPECT_FALSE(colour(true, true, {{"TERM", xterm}}));
  EXPECT_FALSE(colour(true, false, {{"TERM", xterm}, {"NO_COLOR", "1"}}));
  EXPECT_TRUE(colour(true, false, {{"TERM", xterm}, {"NO_COLOR", ""}})) << "an empty NO_COLOR does not count (no-color.org)";
  EXPECT_FALSE(colour(true, false, {{"TERM", "dumb"}}));
  EXPECT_FALSE(colour(true, false, {})) << "no TERM: a terminal nobody knows";
  EXPECT_TRUE(colour(false, false, {{"CLICOLOR_FORCE", "1"}}));
  EXPECT_TRUE(colour(true, false, {{"TERM", "dumb"}, {"CLICOLOR_FORCE", "1"}}));
  EXPECT_FALSE(colour(false, false, {{"CLICOLOR_FORCE", "0"}, {"TERM", xterm}}));
  EXPECT_FALSE(colour(true, false, {{"CLICOLOR_FORCE", "1"}, {"NO_COLOR", "1"}}));
}

TEST(terminal, width_counts_what_a_terminal_shows) {
  EXPECT_EQ(display_width(""), 0u);
  EXPECT_EQ(display_width("churn"), 5u);
  EXPECT_EQ(display_width("Zürich"), 6u);
  EXPECT_EQ(display_width("e\u0301"), 1u) << "a combining accent";
  EXPECT_EQ(display_width("東京"), 4u);
  EXPECT_EQ(display_width("한국"), 4u);
  EXPECT_EQ(display_width("\U0001F680"), 2u);
  EXPECT_EQ(display_width("a\u200bb"), 2u) << "a zero-width blank";
  EXPECT_EQ(display_width("\xff\xfe"), 2u) << "bytes that are no text";
  EXPECT_EQ(display_width("\xe6\x9d"), 2u) << "a character cut off";
  EXPECT_EQ(display_width(painted("ok", ink::green, true)), 2u);
}

TEST(terminal, cutting_keeps_whole_characters_and_marks_the_cut) {
  EXPECT_EQ(cut_to_width("churn", 5), "churn");
  EXPECT_EQ(cut_to_width("churning", 5), "chur…");
  EXPECT_EQ(cut_to_width("東京都", 5), "東京…");
  EXPECT_EQ(cut_to_width("東京都", 4), "東…") << "half a character is none";
  EXPECT_EQ(cut_to_width("東京都", 1), "…");
  EXPECT_EQ(cut_to_width("abc", 0), "");
  for (std::size_t w = 0; w < 12; ++w)
    EXPECT_LE(display_width(cut_to_width("aé東b\u0301cdef", w)), w);
}

TEST(terminal, paint_is_only_there_with_colour) {
  EXPECT_EQ(painted("x", ink::red, false), "x");
  EXPECT_EQ(painted("x", ink::plain, true), "x");
  EXPECT_EQ(painted("x", ink::red, true), "\x1b[31mx\x1b[0m");
}

} // namespace
} // namespace flywheel
