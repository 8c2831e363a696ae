// Looking at a cluster from another machine: through the head's port alone, with nothing of its files.

#include "tests/process/local_cluster.hpp"

#include "cluster/journal/state_directory.hpp"

#include <gmock/gmock.h>

#include <fstream>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using nlohmann::json;
using std::chrono::seconds;

namespace {

/// A person with a viewer's certificate and a state folder of its own, in which nothing ever happened.
struct onlooker {
  explicit onlooker(const local_cluster& c) : cluster(&c) {
    const auto made = run(c.w, {"certs", "issue", "eve", "--role", "viewer", "--dir", (c.w.state / "certs").string(), "--to", (w.root / "eve").string()});
    EXPECT_EQ(made.exit_code, 0) << made.err;
  }
  std::vector<std::string> words(std::vector<std::string> command) const {
    command.insert(command.end(), {"--cluster", cluster->address, "--certs", (w.root / "eve").string()});
    return command;
  }
  program_end look(const std::vector<std::string>& command) const { return run(w, words(command)); }
  const local_cluster* cluster;
  workshop w;
};

} // namespace

TEST(watching, all_that_can_be_looked_up_on_the_head_can_be_from_anywhere) {
  local_cluster c{2};
  const onlooker eve{c};
  EXPECT_EQ(eve.look({"watch"}).exit_code, 3) << "nothing runs yet";
  c.submit();
  program watch{eve.w, eve.words({"watch", "small"})};
  const auto watched = watch.wait(seconds{90});
  EXPECT_EQ(watched.exit_code, 0) << watched.err;
  const auto here = run(c.w, {"watch", "small"});
  EXPECT_EQ(watched.out, here.out) << "the same report";
  for (const auto& command : std::vector<std::vector<std::string>>{{"goals", "-o", "name"}, {"why", "small", "--all"}, {"describe", "small"}, {"journal", "show", "--limit", "0", "-o", "json"},
                                                                   {"journal", "show", "--goal", "small", "--limit", "7"}}) {
    const auto there = eve.look(command);
    EXPECT_EQ(there.exit_code, 0) << command[0] << there.err;
    EXPECT_EQ(there.out, run(c.w, command).out) << command[0];
  }
  EXPECT_EQ(eve.look({"why", "nonsense"}).exit_code, 3);
  const auto denied = eve.look({"cancel", "small"});
  EXPECT_EQ(denied.exit_code, 4) << "a viewer only looks: " << denied.err;
  EXPECT_FALSE(std::filesystem::exists(eve.w.state)) << "nothing was written here";
}

TEST(watching, a_head_that_is_killed_is_waited_for_and_no_line_is_missed_or_said_twice) {
  local_cluster c{2};
  const onlooker eve{c};
  c.submit();
  program watch{eve.w, eve.words({"watch", "small", "-v"})};
  ASSERT_TRUE(eventually([&] { return watch.err().find("explore") != std::string::npos; }, seconds{60})) << "it watches";
  ::kill(c.pid_of("head"), SIGKILL);
  ASSERT_TRUE(eventually([&] { return watch.err().find("the head is away") != std::string::npos; }, seconds{30})) << watch.err();
  ASSERT_TRUE(eventually([&] { return owner_pid(c.w.state) == 0; }, seconds{20}));
  const program again{c.w, {"node", "--head", "--listen", c.address, "--certs", c.certs("head"), "--slots", "1"}};
  const auto watched = watch.wait(seconds{90});
  EXPECT_EQ(watched.exit_code, 0) << watched.err;
  EXPECT_THAT(watched.err, HasSubstr("the head is back"));
  // What it printed is what one prints who saw it all in one go.
  const auto whole = run(c.w, {"watch", "small", "-v"});
  std::string seen, line;
  std::istringstream lines{watched.err};
  while (std::getline(lines, line))
    if (line.find("the head is ") == std::string::npos)
      seen += line + "\n";
  EXPECT_EQ(seen, whole.err);
}

TEST(watching, who_is_not_known_or_asks_nonsense_sees_nothing) {
  local_cluster c{1};
  const onlooker eve{c};
  EXPECT_EQ(run(eve.w, {"goals", "--cluster", c.address}).exit_code, 2) << "who are you?";
  EXPECT_EQ(run(eve.w, {"goals", "--cluster", "127.0.0.1:1", "--certs", (eve.w.root / "eve").string()}).exit_code, 5);
  const auto other = (eve.w.root / "other").string();
  ASSERT_EQ(run(eve.w, {"certs", "init", "other", "--dir", other}).exit_code, 0);
  ASSERT_EQ(run(eve.w, {"certs", "issue", "eve", "--role", "admin", "--dir", other, "--to", (eve.w.root / "false").string()}).exit_code, 0);
  EXPECT_NE(run(eve.w, {"goals", "--cluster", c.address, "--certs", (eve.w.root / "false").string()}).exit_code, 0);
}
