// The bash script is run by bash: what a person gets when pressing Tab. zsh and fish are checked for their content.
#include "actors/client/command_table.hpp"
#include "actors/client/completion_script.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace flywheel {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

class bash_completion : public testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/flywheel-completion-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    std::ofstream(folder_ / "script") << *completion_script("bash");
    std::ofstream(folder_ / "goal.yaml") << "";
    std::ofstream(folder_ / "notes.txt") << "";
    // What the script asks for names; the real program answers the same way.
    std::ofstream(folder_ / "flywheel") << "#!/bin/sh\ncase $1 in goals) echo g-one; echo g-two;; models) echo churn;; esac\n";
    std::filesystem::permissions(folder_ / "flywheel", std::filesystem::perms::owner_all);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// The words offered when Tab is pressed at the end of `words` (the last one being typed).
  std::vector<std::string> complete(const std::vector<std::string>& words) {
    std::string line = "cd " + folder_.string() + " && PATH=" + folder_.string() + ":$PATH bash --norc -c 'source ./script; COMP_WORDS=(flywheel";
    for (const auto& w : words)
      line += " \"" + w + "\"";
    line += "); COMP_CWORD=" + std::to_string(words.size()) + "; _flywheel 2>&1; printf \"%s\\n\" \"${COMPREPLY[@]}\"'";
    std::vector<std::string> offered;
    FILE* pipe = ::popen(line.c_str(), "r");
    EXPECT_NE(pipe, nullptr);
    char text[4096];
    while (pipe && std::fgets(text, sizeof text, pipe)) {
      std::string word(text);
      word.erase(word.find_last_not_of(" \n") + 1);
      if (!word.empty())
        offered.push_back(word);
    }
    EXPECT_EQ(::pclose(pipe), 0);
    return offered;
  }
  std::filesystem::path folder_;
};

TEST_F(bash_completion, offers_commands_first) {
  const auto all = complete({""});
  for (const auto* word : {"run", "goals", "data", "journal", "doctor"})
    EXPECT_THAT(all, Contains(word));
  EXPECT_THAT(all, Not(Contains("_worker")));
  EXPECT_THAT(complete({"mo"}), UnorderedElementsAre("models"));
  EXPECT_THAT(complete({"--state", "/x", "mo"}), UnorderedElementsAre("models")) << "the value of an option is no command";
}

TEST_F(bash_completion, offers_second_words_options_and_values) {
  EXPECT_THAT(complete({"data", ""}), UnorderedElementsAre("infer", "check"));
  EXPECT_THAT(complete({"run", "--ap"}), UnorderedElementsAre("--approve"));
  EXPECT_THAT(complete({"data", "check", "--con"}), UnorderedElementsAre("--contract"));
  EXPECT_THAT(complete({"goals", "-o", ""}), UnorderedElementsAre("table", "json", "yaml", "name"));
  EXPECT_THAT(complete({"goals", "--output", "j"}), UnorderedElementsAre("json"));
  EXPECT_THAT(complete({"completion", ""}), UnorderedElementsAre("bash", "zsh", "fish"));
  EXPECT_THAT(complete({"approve", ""}), IsEmpty());
}

TEST_F(bash_completion, offers_files_goals_and_models_where_they_belong) {
  EXPECT_THAT(complete({"run", ""}), UnorderedElementsAre("goal.yaml"));
  EXPECT_THAT(complete({"data", "infer", "no"}), UnorderedElementsAre("notes.txt"));
  EXPECT_THAT(complete({"watch", ""}), UnorderedElementsAre("g-one", "g-two"));
  EXPECT_THAT(complete({"-o", "json", "watch", "g-t"}), UnorderedElementsAre("g-two"));
  EXPECT_THAT(complete({"rollback", ""}), UnorderedElementsAre("churn"));
  EXPECT_THAT(complete({"journal", "show", "--goal", ""}), UnorderedElementsAre("g-one", "g-two"));
}

TEST(completion_script, every_shell_knows_every_command_and_option) {
  for (const auto* shell : {"bash", "zsh", "fish"}) {
    const auto script = completion_script(shell);
    ASSERT_TRUE(script);
    for (const auto& c : command_table()) {
      if (c.hidden) {
        EXPECT_THAT(*script, Not(HasSubstr(std::string(c.path))));
        continue;
      }
      EXPECT_THAT(*script, HasSubstr(std::string(c.path.substr(c.path.find(' ') + 1)))) << shell;
      for (const auto& o : c.options)
        EXPECT_THAT(*script, HasSubstr((std::string(shell) == "fish" ? "-l " : "--") + std::string(o.name))) << shell;
    }
  }
  EXPECT_EQ(completion_script("csh").error().code, errc::unsupported);
}

} // namespace
} // namespace flywheel
