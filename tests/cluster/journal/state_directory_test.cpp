#include "cluster/journal/state_directory.hpp"

#include "tests/cluster/content/scratch.hpp"

#include <csignal>
#include <map>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flywheel;
namespace fs = std::filesystem;
using flywheel::testing::entries;
using flywheel::testing::scratch;
using flywheel::testing::slurp;
using flywheel::testing::spill;

namespace {

unsigned mode_of(const fs::path& path) {
  struct stat about {};
  return ::stat(path.c_str(), &about) == 0 ? about.st_mode & 0777 : 0;
}

/// Sets environment variables for one scope.
class environment {
public:
  explicit environment(std::map<std::string, std::string> values) {
    for (const auto* name : {"FLYWHEEL_STATE", "XDG_STATE_HOME", "HOME"}) {
      const char* old = std::getenv(name);
      before_[name] = old != nullptr ? std::optional<std::string>{old} : std::nullopt;
      ::unsetenv(name);
    }
    for (const auto& [name, value] : values)
      ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~environment() {
    for (const auto& [name, value] : before_)
      value ? ::setenv(name.c_str(), value->c_str(), 1) : ::unsetenv(name.c_str());
  }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;

private:
  std::map<std::string, std::optional<std::string>> before_;
};

} // namespace

TEST(default_state_path, the_nearest_wish_wins) {
  const environment e{{{"FLYWHEEL_STATE", "/a/state/"}, {"XDG_STATE_HOME", "/b"}, {"HOME", "/c"}}};
  EXPECT_EQ(*default_state_path("/x/./y/../z"), "/x/z");
  EXPECT_EQ(*default_state_path("rel"), fs::current_path() / "rel");
  EXPECT_EQ(*default_state_path(""), "/a/state");
}

TEST(default_state_path, falls_back_to_xdg_and_home) {
  {
    const environment e{{{"FLYWHEEL_STATE", ""}, {"XDG_STATE_HOME", "/b"}, {"HOME", "/c"}}};
    EXPECT_EQ(*default_state_path(""), "/b/flywheel");
  }
  {
    const environment e{{{"XDG_STATE_HOME", "relative"}, {"HOME", "/c"}}};
    EXPECT_EQ(*default_state_path(""), "/c/.local/state/flywheel");
  }
  {
    const environment e{{}};
    EXPECT_TRUE(default_state_path("")->is_absolute()); // the user's entry in /etc/passwd
  }
}

TEST(state_directory, makes_the_layout_private) {
  const scratch dir;
  const auto root = dir / "deep/er/state";
  const auto state = state_directory::own(root);
  ASSERT_TRUE(state) << state.error().to_string();
  const auto& layout = state->layout();
  EXPECT_EQ(layout.root, root);
  for (const auto& folder : {layout.root, layout.data(), layout.sealed(), layout.trials(), layout.models(),
                             layout.run(), layout.log()})
    EXPECT_EQ(mode_of(folder), 0700u) << folder;
  EXPECT_LT(layout.control_socket().string().size(), 108u);
}

TEST(state_directory, tightens_rights_that_became_too_wide) {
  const scratch dir;
  ASSERT_TRUE(state_directory::own(dir / "s"));
  ASSERT_EQ(::chmod((dir / "s").c_str(), 0777), 0);
  ASSERT_EQ(::chmod((dir / "s/sealed").c_str(), 0755), 0);
  ASSERT_TRUE(state_directory::own(dir / "s"));
  EXPECT_EQ(mode_of(dir / "s"), 0700u);
  EXPECT_EQ(mode_of(dir / "s/sealed"), 0700u);
}

TEST(state_directory, each_owner_gets_a_greater_epoch) {
  const scratch dir;
  for (std::uint64_t n = 1; n <= 12; ++n)
    EXPECT_EQ(state_directory::own(dir / "s")->epoch(), n);
  EXPECT_EQ(owner_pid(dir / "s"), 0);
}

TEST(state_directory, a_damaged_epoch_is_never_guessed) {
  const scratch dir;
  for (int i = 0; i < 9; ++i)
    ASSERT_TRUE(state_directory::own(dir / "s"));
  const auto path = dir / "s/epoch";
  const auto good = slurp(path);
  for (std::size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      auto altered = good;
      altered[i] = static_cast<char>(altered[i] ^ (1 << bit));
      spill(path, altered);
      const auto state = state_directory::own(dir / "s");
      ASSERT_FALSE(state) << i << "." << bit;
      EXPECT_EQ(state.error().code, errc::checksum_mismatch);
    }
  for (const auto* bad : {"", "-3\n", "99999999999999999999\n", "9 0000000000000000\n"}) {
    spill(path, bad);
    EXPECT_EQ(state_directory::own(dir / "s").error().code, errc::checksum_mismatch) << bad;
  }
  spill(path, "41\n"); // what the hint tells a person to do
  EXPECT_EQ(state_directory::own(dir / "s")->epoch(), 42u);
  EXPECT_EQ(state_directory::own(dir / "s")->epoch(), 43u);
}

TEST(state_directory, a_missing_epoch_beside_a_journal_is_damage) {
  const scratch dir;
  ASSERT_TRUE(state_directory::own(dir / "s"));
  spill(dir / "s/journal.db", "x");
  fs::remove(dir / "s/epoch");
  EXPECT_EQ(state_directory::own(dir / "s").error().code, errc::checksum_mismatch);
}

TEST(state_directory, a_second_owner_is_told_the_pid_of_the_first) {
  const scratch dir;
  auto state = state_directory::own(dir / "s");
  ASSERT_TRUE(state);
  EXPECT_EQ(owner_pid(dir / "s"), ::getpid());
  const auto second = state_directory::own(dir / "s");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, errc::state_locked);
  EXPECT_NE(second.error().to_string().find(std::to_string(::getpid())), std::string::npos);
  EXPECT_NE(second.error().hint.find("--state"), std::string::npos);
  {
    const auto moved = std::move(*state);
    EXPECT_EQ(owner_pid(dir / "s"), ::getpid());
  }
  EXPECT_EQ(owner_pid(dir / "s"), 0);
}

TEST(state_directory, the_lock_dies_with_its_process) {
  const scratch dir;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const auto child = ::fork();
  if (child == 0) {
    const auto state = state_directory::own(dir / "s");
    if (!state || ::write(ready[1], "r", 1) != 1)
      ::_exit(1);
    for (;;)
      ::pause();
  }
  char c = 0;
  ASSERT_EQ(::read(ready[0], &c, 1), 1);
  EXPECT_EQ(owner_pid(dir / "s"), child);
  const auto refused = state_directory::own(dir / "s");
  EXPECT_EQ(refused.error().code, errc::state_locked);
  EXPECT_NE(refused.error().what.find(std::to_string(child)), std::string::npos);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(owner_pid(dir / "s"), 0);
  const auto next = state_directory::own(dir / "s");
  ASSERT_TRUE(next);
  EXPECT_EQ(next->epoch(), 2u);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(state_directory, asking_who_owns_it_never_disturbs_who_wants_to) {
  const scratch dir;
  ASSERT_TRUE(state_directory::own(dir / "s"));
  const auto child = ::fork();
  if (child == 0)
    for (;;)
      (void)owner_pid(dir / "s");
  for (int i = 0; i < 50; ++i)
    EXPECT_TRUE(state_directory::own(dir / "s")) << i;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST(state_directory, what_a_killed_owner_left_is_cleared) {
  const scratch dir;
  ASSERT_TRUE(state_directory::own(dir / "s"));
  spill(dir / "s/run/control.sock", "");
  fs::create_directory(dir / "s/run/sub");
  spill(dir / "s/data/d.tmp-1-1", "half");
  spill(dir / "s/data/d", "whole");
  ASSERT_TRUE(state_directory::own(dir / "s"));
  EXPECT_EQ(entries(dir / "s/run"), 0u);
  EXPECT_EQ(entries(dir / "s/data"), 1u);
}

TEST(state_directory, a_folder_full_of_something_else_is_not_taken_over) {
  const scratch dir;
  fs::create_directory(dir / "home");
  spill(dir / "home/letter", "dear");
  ASSERT_EQ(::chmod((dir / "home").c_str(), 0755), 0);
  const auto state = state_directory::own(dir / "home");
  EXPECT_EQ(state.error().code, errc::invalid_argument);
  EXPECT_EQ(mode_of(dir / "home"), 0755u);
  EXPECT_EQ(entries(dir / "home"), 1u);
  spill(dir / "file", "x");
  EXPECT_FALSE(state_directory::own(dir / "file"));
}

TEST(state_directory, a_path_too_long_for_sockets_is_refused_with_a_way_out) {
  const scratch dir;
  const auto state = state_directory::own(dir / std::string(80, 'x'));
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code, errc::too_large);
  EXPECT_NE(state.error().hint.find("--state"), std::string::npos);
  EXPECT_EQ(entries(dir.path()), 0u);
  // The way out works: a short link to a long place.
  fs::create_directory(dir / std::string(80, 'y'));
  fs::create_directory_symlink(std::string(80, 'y'), dir / "short");
  EXPECT_TRUE(state_directory::own(dir / "short"));
}
