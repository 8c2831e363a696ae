// deploy/slurm/flywheel.sbatch is generated; this test holds it to the code. To write it anew: FLYWHEEL_WRITE_DOCS=1.
#include "actors/client/slurm_script.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace flywheel {
namespace {

using ::testing::HasSubstr;

TEST(slurm_script, deploy_slurm_flywheel_sbatch_is_current) {
  const std::string file = FLYWHEEL_SOURCE_DIR "/deploy/slurm/flywheel.sbatch";
  const auto wanted = render({});
  ASSERT_TRUE(wanted);
  if (std::getenv("FLYWHEEL_WRITE_DOCS"))
    std::ofstream(file) << *wanted;
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_EQ(text.str(), *wanted) << "run this test once with FLYWHEEL_WRITE_DOCS=1 and commit deploy/slurm/flywheel.sbatch";
  EXPECT_THAT(*wanted, HasSubstr("\nexec \"${FLYWHEEL:-flywheel}\" slurm boot \"$@\"\n"));
}

TEST(slurm_script, holds_the_goal_and_what_a_person_asks_of_sbatch_last) {
  slurm_script s;
  s.name = "flywheel-churn";
  s.program = "/opt/fly wheel/flywheel";
  s.goal = R"({"name":"it's $HOME"})";
  s.output = "/state/100%/log";
  s.boot_options = {"--state", "/a b"};
  s.sbatch_options = {"-N", "3", "--comment=a \"b\" #c\\"};
  s.grace = std::chrono::seconds{300};
  const auto text = render(s);
  ASSERT_TRUE(text);
  EXPECT_THAT(*text, HasSubstr("#SBATCH --job-name=flywheel-churn\n"));
  EXPECT_THAT(*text, HasSubstr("#SBATCH --output=/state/100%%/log/slurm-%j.out\n"));
  EXPECT_THAT(*text, HasSubstr("#SBATCH --signal=B:USR1@300\n"));
  EXPECT_THAT(*text, HasSubstr("#SBATCH -N 3 \"--comment=a \\\"b\\\" #c\\\\\"\n"));
  EXPECT_GT(text->find("#SBATCH -N 3"), text->find("#SBATCH --nodes=1")) << "what comes later wins";
  EXPECT_THAT(*text, HasSubstr("\nexec '/opt/fly wheel/flywheel' slurm boot --state '/a b' - <<'FLYWHEEL_GOAL'\n{\"name\":\"it's $HOME\"}\nFLYWHEEL_GOAL\n"));
}

TEST(slurm_script, a_word_with_a_line_break_would_be_another_command) {
  for (const auto* word : {"a\nb", "a\rb", "\x1b[1m"}) {
    slurm_script s;
    s.sbatch_options = {word};
    EXPECT_EQ(render(s).error().code, errc::invalid_argument);
    s.sbatch_options.clear();
    s.boot_options = {word};
    EXPECT_EQ(render(s).error().code, errc::invalid_argument);
  }
}

TEST(slurm_script, words_come_back_from_bash_as_they_were) {
  EXPECT_EQ(bash_quoted("plain/path-1.2"), "plain/path-1.2");
  EXPECT_EQ(bash_quoted(""), "''");
  EXPECT_EQ(bash_quoted("a b"), "'a b'");
  EXPECT_EQ(bash_quoted("it's"), "'it'\\''s'");
  EXPECT_EQ(bash_quoted("$(x)`y`"), "'$(x)`y`'");
}

} // namespace
} // namespace flywheel
