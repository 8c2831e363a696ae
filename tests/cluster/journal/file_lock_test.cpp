#include "cluster/journal/file_lock.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

class file_locks : public testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/flywheel-lock-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder = name;
  }
  void TearDown() override { fs::remove_all(folder); }
  result<file_lock> take() const { return file_lock::acquire(folder / "lock", folder); }
  fs::path folder;
};

} // namespace

TEST_F(file_locks, have_one_holder_who_is_named) {
  auto mine = take();
  ASSERT_TRUE(mine);
  EXPECT_EQ(file_lock::holder(folder / "lock"), ::getpid());
  const auto second = take();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, errc::state_locked);
  EXPECT_NE(second.error().what.find(std::to_string(::getpid())), std::string::npos);
  mine = file_lock{};
  EXPECT_EQ(file_lock::holder(folder / "lock"), 0);
  EXPECT_TRUE(take());
}

// owner: takes the lock, and is killed.   last part of it: still has the file open for a while.   we: start again at once.
TEST_F(file_locks, of_an_owner_who_is_on_the_way_out_are_waited_for) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t owner = ::fork();
  if (owner == 0) {
    const auto lock = take();
    if (lock && ::fork() == 0) { // what is left of it
      [[maybe_unused]] const auto n = ::write(ready[1], "x", 1);
      ::poll(nullptr, 0, 400);
      ::_exit(0);
    }
    ::pause();
    ::_exit(1);
  }
  char x = 0;
  ASSERT_EQ(::read(ready[0], &x, 1), 1);
  EXPECT_FALSE(take()) << "the owner lives";
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  const auto mine = take();
  EXPECT_TRUE(mine) << mine.error().to_string();
  ::close(ready[0]);
  ::close(ready[1]);
}
