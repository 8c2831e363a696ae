#include "actors/client/front_door.hpp"
#include "actors/client/help_text.hpp"
#include "actors/client/terminal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace flywheel {
namespace {

using testing::HasSubstr;
using testing::Not;

struct answer {
  bool answered = false;
  int exit_code = -1;
  std::string text;
  error problem;
};

answer ask(const std::vector<std::string>& words) {
  const auto line = parse_command_line(words);
  if (!line)
    return {true, 2, {}, line.error()};
  std::ostringstream out;
  auto reply = answer_from_table(*line, out, false);
  if (!reply)
    return {};
  if (!*reply)
    return {true, exit_code_of(reply->error().code), out.str(), reply->error()};
  return {true, **reply, out.str(), {}};
}

TEST(front_door, help_shows_examples_first_then_every_command) {
  const auto a = ask({"--help"});
  EXPECT_EQ(a.exit_code, 0);
  EXPECT_EQ(a.text, ask({}).text);
  EXPECT_EQ(a.text, ask({"help"}).text);
  EXPECT_LT(a.text.find("Examples"), a.text.find("Options of every command"));
  for (const auto& c : command_table()) {
    if (c.hidden)
      EXPECT_THAT(a.text, Not(HasSubstr(std::string(c.path))));
    else
      EXPECT_THAT(a.text, HasSubstr("\n  " + std::string(c.path) + " "));
  }
}

TEST(front_door, help_of_a_command_is_the_same_by_three_ways) {
  for (const auto& c : command_table()) {
    if (c.hidden)
      continue;
    SCOPED_TRACE(c.path);
    std::vector<std::string> after, before{"--help"}, help{"help"};
    std::istringstream words{std::string(c.path)};
    for (std::string w; words >> w;)
      for (auto* v : {&after, &before, &help})
        v->push_back(w);
    after.push_back("-h");
    const auto text = ask(after).text;
    EXPECT_EQ(text, ask(before).text);
    EXPECT_EQ(text, ask(help).text);
    EXPECT_LT(text.find("Examples"), text.find("Usage"));
    for (const auto& o : c.options)
      EXPECT_THAT(text, HasSubstr("--" + std::string(o.name)));
  }
}

bool is_example(const std::string& line) {
  for (const auto& c : command_table()) {
    if (line == "  " + usage_of(c))
      return true;
    for (const auto& e : c.examples)
      if (line == "  " + std::string(e.line))
        return true;
  }
  return false;
}

TEST(front_door, help_fits_eighty_columns) {
  for (const auto& c : command_table()) {
    std::istringstream lines(command_help(c, false) + program_help(false));
    for (std::string line; std::getline(lines, line);)
      EXPECT_TRUE(display_width(line) <= 80 || is_example(line)) << line; // an example is never broken
  }
}

TEST(front_door, groups_and_mistakes) {
  EXPECT_THAT(ask({"data", "--help"}).text, HasSubstr("flywheel data check"));
  EXPECT_EQ(ask({"data", "--help"}).text, ask({"help", "data"}).text);
  const auto typo = ask({"help", "plna"});
  EXPECT_EQ(typo.exit_code, 3);
  EXPECT_THAT(typo.problem.hint, HasSubstr("'plan'"));
  EXPECT_EQ(ask({"man", "nothing-like-it"}).exit_code, 3);
}

TEST(front_door, leaves_all_other_commands_to_their_handlers) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"goals"}, {"run", "g.yaml"}, {"version"}, {"--version"}, {"doctor"}, {"_worker", "--help"}})
    EXPECT_FALSE(ask(words).answered) << words[0];
}

TEST(help_text, wraps_at_blanks_and_keeps_paragraphs) {
  EXPECT_EQ(wrapped("aaa bbb ccc\n\nddd", 2, 9), "  aaa bbb\n  ccc\n\n  ddd\n");
  EXPECT_EQ(wrapped("", 2), "\n");
  EXPECT_EQ(wrapped("averyveryverylongword", 0, 5), "averyveryverylongword\n") << "a word is never broken";
}

} // namespace
} // namespace flywheel
