#include "actors/client/command_line.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flywheel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

command_line good(std::vector<std::string> words) {
  auto r = parse_command_line(words);
  EXPECT_TRUE(r) << (r ? "" : r.error().to_string());
  return r ? std::move(r).value() : command_line{};
}

error bad(std::vector<std::string> words) {
  auto r = parse_command_line(words);
  EXPECT_FALSE(r) << "was taken as '" << (r ? r->path() : "") << "'";
  return r ? error{} : std::move(r).error();
}

TEST(command_line, reads_a_command_with_arguments_and_options_in_any_order) {
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"--state", "/s", "run", "goal.yaml", "a.b=1", "c=2", "--approve", "-o", "json"},
           {"run", "-ojson", "--approve", "--state=/s", "goal.yaml", "a.b=1", "c=2"},
           {"-s/s", "--output=json", "run", "goal.yaml", "--approve", "a.b=1", "--", "c=2"},
           {"run", "-s=/s", "goal.yaml", "-o=json", "a.b=1", "c=2", "--approve"}}) {
    const auto line = good(words);
    EXPECT_EQ(line.path(), "run");
    EXPECT_EQ(line.argument("GOAL"), "goal.yaml");
    EXPECT_THAT(line.overrides(), ElementsAre("a.b=1", "c=2"));
    EXPECT_TRUE(line.flag("approve"));
    EXPECT_FALSE(line.flag("serve"));
    EXPECT_EQ(line.text("state"), "/s");
    EXPECT_EQ(line.style(), output_style::json);
  }
}

TEST(command_line, set_adds_to_the_overrides_and_may_repeat) {
  EXPECT_THAT(good({"plan", "g.yaml", "--set", "a=1", "b=2", "--set=c=3"}).overrides(), ElementsAre("b=2", "a=1", "c=3"));
}

TEST(command_line, two_word_commands) {
  EXPECT_EQ(good({"data", "infer", "x.csv"}).path(), "data infer");
  EXPECT_EQ(good({"data", "check", "x.csv", "-c", "g.yaml"}).text("contract"), "g.yaml");
  EXPECT_EQ(good({"-q", "journal", "-v", "verify"}).path(), "journal verify");
}

TEST(command_line, defaults_come_from_the_table) {
  const auto line = good({"journal", "show"});
  EXPECT_EQ(line.integer("limit"), 50u);
  EXPECT_FALSE(line.given("limit"));
  EXPECT_EQ(line.style(), output_style::table);
  EXPECT_EQ(line.text("goal"), "");
  EXPECT_EQ(good({"journal", "show", "--limit", "0"}).integer("limit"), 0u);
}

TEST(command_line, short_flags_bundle_and_a_single_dash_is_a_value) {
  const auto line = good({"-qv", "predict", "churn", "-i", "-"});
  EXPECT_TRUE(line.quiet());
  EXPECT_TRUE(line.verbose());
  EXPECT_EQ(line.text("input"), "-");
  EXPECT_THAT(good({"predict", "churn", "--", "-x=1", "y=-3"}).arguments("NAME=VALUE"), ElementsAre("-x=1", "y=-3"));
  EXPECT_EQ(good({"why", "-a", "churn"}).argument("SUBJECT"), "churn");
}

TEST(command_line, nothing_or_help_asks_for_help_even_if_the_rest_is_incomplete) {
  EXPECT_TRUE(good({}).help_wanted());
  EXPECT_TRUE(good({"--help"}).help_wanted());
  const auto run = good({"run", "-h"});
  EXPECT_TRUE(run.help_wanted());
  EXPECT_EQ(run.path(), "run");
  const auto data = good({"data", "--help"});
  EXPECT_TRUE(data.help_wanted());
  EXPECT_EQ(data.help_group(), "data");
  EXPECT_TRUE(good({"--version"}).version_wanted());
  EXPECT_FALSE(good({"-V"}).help_wanted());
  EXPECT_TRUE(good({"-q"}).help_wanted());
  EXPECT_TRUE(good({"--"}).help_wanted());
}

TEST(command_line, worker_arguments_are_handed_over_unread) {
  const auto line = good({"_worker", "--socket", "ipc:///x", "--help", "-zz", "--"});
  EXPECT_THAT(line.arguments("ARGUMENT"), ElementsAre("--socket", "ipc:///x", "--help", "-zz", "--"));
  EXPECT_FALSE(line.help_wanted());
}

struct mistake {
  std::vector<std::string> words;
  std::string what, hint; // parts of them
};

TEST(command_line, mistakes_are_bad_input_and_say_what_was_meant) {
  const std::vector<mistake> mistakes{
      {{"rnu"}, "unknown command 'rnu'", "did you mean 'flywheel run'?"},
      {{"descirbe", "x"}, "unknown command", "'flywheel describe'"},
      {{"RUN", "x"}, "unknown command 'RUN'", "'flywheel run'"},
      {{"desc", "x"}, "unknown command", "'flywheel describe'"},
      {{"ls"}, "unknown command", "'flywheel goals'"},
      {{"verify"}, "unknown command", "'flywheel journal verify'"},
      {{"undo", "churn"}, "unknown command", "'flywheel rollback'"},
      {{"frobnicate"}, "unknown command 'frobnicate'", "'flywheel --help' lists the commands"},
      {{"data"}, "needs one more word", "flywheel data infer, flywheel data check"},
      {{"data", "chek"}, "unknown command 'data chek'", "'flywheel data check'"},
      {{"data", "zzzzzz"}, "unknown command 'data zzzzzz'", "infer, check"},
      {{"run", "g.yaml", "--aprove"}, "unknown option '--aprove'", "'--approve'"},
      {{"plan", "g.yaml", "--approve"}, "unknown option '--approve'", "belongs to 'flywheel run'"},
      {{"--approve", "run", "g.yaml"}, "unknown option '--approve'", "flywheel run --approve"},
      {{"run", "g.yaml", "-x"}, "unknown option '-x'", "flywheel run --help"},
      {{"run", "g.yaml", "-qx"}, "unknown option '-x'", "--help"},
      {{"run", "g.yaml", "-approve"}, "unknown option '-approve'", "'--approve'"},
      {{"run"}, "GOAL is missing", "usage: flywheel run"},
      {{"goals", "extra"}, "unexpected 'extra'", "usage: flywheel goals"},
      {{"goals", "-o", "jsn"}, "'jsn' is not possible", "did you mean 'json'?"},
      {{"goals", "-o"}, "--output needs a value", "usage"},
      {{"goals", "--output="}, "is not possible", "table, json, yaml, name"},
      {{"goals", "--state="}, "--state is empty", "shell variable"},
      {{"goals", "--quiet=yes"}, "takes no value", "--quiet"},
      {{"deny", "a-1"}, "--reason TEXT is missing", "usage: flywheel deny --reason TEXT"},
      {{"deny", "a-1", "--reason", "--quiet"}, "needs a value, but '--quiet' follows", "--reason=--quiet"},
      {{"goals", "--state", "a", "--state", "b"}, "--state is given twice", ""},
      {{"run", "g.yaml", "ab"}, "'ab' is not of the form NAME=VALUE", "search.budget.trials=10"},
      {{"run", "g.yaml", "=5"}, "not of the form NAME=VALUE", ""},
      {{"journal", "show", "--limit", "ten"}, "'ten' is not a whole number", "--limit 10"},
      {{"journal", "show", "--limit", "-1"}, "not a whole number", ""},
      {{"journal", "show", "--limit", "99999999999999999999"}, "not a whole number", ""},
      {{"completion", "powershell"}, "'powershell' is not possible", "bash, zsh, fish"},
      {{"run", "\xff\xfe.yaml"}, "not valid UTF-8", ""},
      {{"run\x1b[31m"}, "\\x1b", ""},
      {{""}, "unknown command ''", ""},
      {{"---"}, "unknown option", ""},
      {{"-"}, "unknown command '-'", ""},
  };
  for (const auto& m : mistakes) {
    SCOPED_TRACE(testing::PrintToString(m.words));
    const auto e = bad(m.words);
    EXPECT_EQ(exit_code_of(e.code), 2);
    EXPECT_THAT(e.what, HasSubstr(m.what));
    EXPECT_THAT(e.hint, HasSubstr(m.hint));
    EXPECT_EQ(e.what.find('\x1b'), std::string::npos);
  }
}

TEST(command_line, hostile_lengths_are_bounded_and_quick) {
  const std::string long_word(1 << 20, 'a');
  EXPECT_LT(bad({long_word}).what.size(), 200u);
  EXPECT_LT(bad({"run", "g.yaml", "--" + long_word}).what.size(), 200u);
  EXPECT_LT(bad({"goals", long_word}).what.size(), 200u);
}

TEST(command_line_death, asking_for_an_option_the_table_does_not_have_is_our_bug) {
  const auto line = good({"goals"});
  EXPECT_DEATH((void)line.flag("approve"), "no such option");
  EXPECT_DEATH((void)line.argument("GOAL"), "no such argument");
  EXPECT_DEATH((void)line.flag("state"), "not a flag");
}

} // namespace
} // namespace flywheel
