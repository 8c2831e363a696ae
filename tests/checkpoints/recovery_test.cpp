// Killed while writing, or with the disk full: the newest complete checkpoint loads, always.

#include "checkpoints/checkpoint_file.hpp"
#include "checkpoints/checkpoint_store.hpp"
#include "tests/checkpoints/sample_checkpoint.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t floats = 60'000;

/// Runs `child` in a process of its own; its exit code, or -signal.
int in_child(const std::function<int()>& child) {
  const pid_t pid = ::fork();
  if (pid == 0)
    ::_exit(child());
  int state = 0;
  ::waitpid(pid, &state, 0);
  return WIFEXITED(state) ? WEXITSTATUS(state) : -WTERMSIG(state);
}

} // namespace

TEST(recovery, killed_fifty_times_while_writing_the_newest_or_the_one_before_loads) {
  test::scratch_folder folder;
  random_source random{8};
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < 50; ++round) {
    int said[2];
    ASSERT_EQ(::pipe(said), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(said[0]);
      auto store = checkpoint_store::open(folder.path());
      for (std::uint64_t step = acknowledged + 1; store; ++step) {
        if (!store->save(test::sample_checkpoint(step, step, floats)) || ::write(said[1], &step, sizeof step) != sizeof step)
          break;
      }
      ::_exit(1);
    }
    ::close(said[1]);
    std::uint64_t step = 0;
    // The kill comes some moment after a save was acknowledged: in the middle of the next one.
    if (::read(said[0], &step, sizeof step) == sizeof step)
      acknowledged = std::max(acknowledged, step);
    ::usleep(static_cast<useconds_t>(random.below(6000)));
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    while (::read(said[0], &step, sizeof step) == sizeof step)
      acknowledged = std::max(acknowledged, step);
    ::close(said[0]);

    auto store = checkpoint_store::open(folder.path()).value();
    const auto found = store.latest().value();
    ASSERT_TRUE(found.newest) << "round " << round;
    EXPECT_TRUE(found.set_aside.empty()) << found.set_aside.front().to_string();
    EXPECT_GE(found.newest->step, acknowledged) << "what save() acknowledged is there";
    ASSERT_EQ(*found.newest, test::sample_checkpoint(found.newest->step, found.newest->step, floats));
    acknowledged = found.newest->step;
    for (const auto& entry : fs::directory_iterator(folder.path()))
      EXPECT_TRUE(entry.path().string().ends_with(".h5")) << entry.path() << " was left behind";
  }
  EXPECT_GE(acknowledged, 50u);
}

TEST(recovery, a_full_disk_is_an_error_and_the_one_before_stays) {
  test::scratch_folder folder;
  auto store = checkpoint_store::open(folder.path()).value();
  ASSERT_TRUE(store.save(test::sample_checkpoint(1, 1, floats)));
  const auto size = fs::file_size(store.path_of(1));
  for (const auto room : {std::uintmax_t{0}, std::uintmax_t{100}, std::uintmax_t{700}, size / 2, size - 1}) {
    // A limit on the size of files stands in for the end of the disk: write(2) fails in the same place.
    const int code = in_child([&] {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{room, room};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      const auto s = store.save(test::sample_checkpoint(2, 2, floats));
      if (s.ok())
        return 1;
      return s.error().code == errc::disk_full || s.error().code == errc::too_large || s.error().code == errc::io_failed ? 42 : 2;
    });
    EXPECT_EQ(code, 42) << "with room for " << room << " bytes";
    const auto found = store.latest().value();
    ASSERT_TRUE(found.newest && found.newest->step == 1);
    EXPECT_TRUE(found.set_aside.empty());
    for (const auto& entry : fs::directory_iterator(folder.path()))
      EXPECT_EQ(entry.path(), store.path_of(1)) << "nothing half-written stays";
  }
}

TEST(recovery, a_really_full_file_system_is_told_as_such) {
  test::scratch_folder folder;
  if (::mount("none", folder.path().c_str(), "tmpfs", 0, "size=300k") != 0)
    GTEST_SKIP() << "SKIPPED: no right to mount a small tmpfs here; the file-size limit above covers the same calls";
  {
    auto store = checkpoint_store::open(folder.path()).value();
    ASSERT_TRUE(store.save(test::sample_checkpoint(1, 1, 30'000)));
    const auto s = store.save(test::sample_checkpoint(2, 2, floats));
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, errc::disk_full) << s.error().to_string();
    EXPECT_EQ(*store.latest().value().newest, test::sample_checkpoint(1, 1, 30'000));
  }
  ::umount(folder.path().c_str());
}
