#include "actors/client/command_line.hpp"
#include "actors/client/command_table.hpp"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

namespace flywheel {
namespace {

TEST(command_table, has_the_commands_that_people_were_promised) {
  for (const auto* path : {"run", "submit", "plan", "watch", "goals", "describe", "why", "approve", "deny", "cancel", "models",
                           "rollback", "predict", "data infer", "data check", "explain", "journal verify", "journal repair", "journal show",
                           "serve", "launch", "worker gang-train", "doctor", "version", "completion", "man", "help", "_worker"})
    EXPECT_NE(find_command(path), nullptr) << path;
  EXPECT_EQ(find_command("data"), nullptr);
  EXPECT_TRUE(is_command_group("data"));
  EXPECT_EQ(commands_in_group("journal").size(), 3u);
  EXPECT_FALSE(is_command_group("run"));
  EXPECT_FALSE(is_command_group(""));
}

TEST(command_table, every_shown_command_has_summary_description_and_examples) {
  for (const auto& c : command_table()) {
    SCOPED_TRACE(c.path);
    EXPECT_FALSE(c.summary.empty());
    EXPECT_LE(c.summary.size(), 76u) << "it must fit a line of help";
    EXPECT_FALSE(c.summary.ends_with('.'));
    EXPECT_FALSE(c.description.empty());
    EXPECT_EQ(c.examples.empty(), c.hidden);
  }
}

TEST(command_table, names_are_unique_and_values_are_described) {
  std::set<std::string_view> paths;
  for (const auto& c : command_table()) {
    SCOPED_TRACE(c.path);
    EXPECT_TRUE(paths.insert(c.path).second);
    std::set<std::string_view> names;
    std::set<char> letters;
    for (const auto* options : {&c.options, &global_options()})
      for (const auto& o : *options) {
        EXPECT_TRUE(names.insert(o.name).second) << o.name;
        EXPECT_TRUE(o.letter == 0 || letters.insert(o.letter).second) << o.letter;
        EXPECT_FALSE(o.help.empty()) << o.name;
        EXPECT_EQ(o.kind == value_kind::flag, o.value_name.empty()) << o.name;
        EXPECT_EQ(o.kind == value_kind::choice, !o.choices.empty()) << o.name;
        EXPECT_FALSE(o.required && !o.default_value.empty()) << o.name;
      }
    bool optional_seen = false;
    for (const auto& a : c.arguments) {
      EXPECT_FALSE(a.required && optional_seen) << "a required argument after an optional one cannot be told apart";
      optional_seen |= !a.required;
      EXPECT_TRUE(!a.repeatable || &a == &c.arguments.back()) << a.name;
    }
  }
}

TEST(command_table, words_people_use_elsewhere_name_no_command_of_ours) {
  for (const auto& c : command_table())
    for (const auto word : c.also)
      EXPECT_EQ(find_command(word), nullptr) << word << " in " << c.path;
}

// Every example is parsed by the real parser: help that does not work is worse than none.
TEST(command_table, every_example_parses) {
  for (const auto& c : command_table())
    for (const auto& example : c.examples) {
      SCOPED_TRACE(example.line);
      std::string line(example.line);
      const auto start = line.find("flywheel ");
      ASSERT_NE(start, std::string::npos);
      line = line.substr(start + 9);
      line = line.substr(0, line.find_first_of("|>)"));
      std::vector<std::string> words;
      std::istringstream in(line);
      for (std::string word; in >> word;) {
        if (word.starts_with('\'')) {
          std::string rest;
          std::getline(in, rest, '\'');
          word = word.substr(1) + rest;
        }
        words.push_back(word);
      }
      const auto parsed = parse_command_line(words);
      ASSERT_TRUE(parsed) << parsed.error().to_string();
      EXPECT_EQ(parsed->path(), c.path);
    }
}

TEST(command_table, usage_shows_required_options_and_optional_arguments) {
  EXPECT_EQ(usage_of(*find_command("run")), "flywheel run [options] GOAL [NAME=VALUE...]");
  EXPECT_EQ(usage_of(*find_command("data check")), "flywheel data check --contract FILE [options] FILE");
  EXPECT_EQ(option_signature(global_options()[0]), "-s, --state DIR");
}

} // namespace
} // namespace flywheel
