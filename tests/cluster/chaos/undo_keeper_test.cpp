// What was struck is mended: when it is due, and when whoever struck is killed.

#include "cluster/chaos/population_store.hpp"
#include "cluster/chaos/undo_keeper.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <poll.h>
#include <string>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// A process that does nothing until it is killed.
class sleeper {
public:
  sleeper() : pid_(::fork()) {
    if (pid_ == 0)
      for (;;)
        ::pause();
  }
  ~sleeper() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  sleeper(const sleeper&) = delete;
  sleeper& operator=(const sleeper&) = delete;
  process_facts facts() const { return process_of(pid_).value_or(process_facts{}); }
  bool stopped() const { return facts().stopped; }

private:
  pid_t pid_;
};

template <class F> bool eventually(F&& condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition())
      return true;
    (void)::poll(nullptr, 0, 10); // another process's state has no event to wait on
  }
  return false;
}

undo_action thaw_of(const sleeper& s) {
  const auto p = s.facts();
  return {undo_action::sort::thaw, "it thaws", p.pid, p.started, {}, {}, {}, {}, {}};
}

struct folder {
  folder() { path = ::mkdtemp(name); }
  ~folder() { fs::remove_all(path); }
  char name[32] = "/tmp/fw-keeper-XXXXXX";
  fs::path path;
};

TEST(undo_keeper, undoes_when_it_is_told_and_forgets_when_it_is_told) {
  auto keeper = undo_keeper::start();
  ASSERT_TRUE(keeper);
  sleeper s;
  const auto id = keeper->add(thaw_of(s));
  ASSERT_TRUE(id);
  ASSERT_TRUE(signal_process(s.facts().pid, s.facts().started, SIGSTOP));
  ASSERT_TRUE(eventually([&] { return s.stopped(); }));
  EXPECT_TRUE(keeper->undo(*id));
  EXPECT_TRUE(eventually([&] { return !s.stopped(); }));
  const auto other = keeper->add(thaw_of(s));
  ASSERT_TRUE(other);
  EXPECT_TRUE(keeper->forget(*other));
}

TEST(undo_keeper, undoes_everything_when_whoever_struck_is_killed) {
  folder f;
  sleeper s;
  std::ofstream{f.path / "ballast"} << "x";
  const pid_t striker = ::fork();
  if (striker == 0) {
    auto keeper = undo_keeper::start();
    undo_action gone{undo_action::sort::remove, "the file goes", 0, 0, f.path / "ballast", {}, {}, {}, {}};
    if (!keeper || !keeper->add(thaw_of(s)) || !keeper->add(gone) || !keeper->burn(1) || !signal_process(s.facts().pid, s.facts().started, SIGSTOP))
      ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(striker, &status, 0), striker);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it had not struck";
  EXPECT_TRUE(eventually([&] { return !s.stopped() && !fs::exists(f.path / "ballast"); }));
}

TEST(undo_keeper, the_reverse_order_at_the_end_and_errors_said) {
  folder f;
  const auto say = [&](const std::string& word) {
    return undo_action{undo_action::sort::run, word, 0, 0, {}, {}, {}, {{"sh", "-c", "echo " + word + " >> " + (f.path / "log").string()}}, {}};
  };
  {
    auto keeper = undo_keeper::start();
    ASSERT_TRUE(keeper && keeper->add(say("first")) && keeper->add(say("second")));
    const auto bad = keeper->add({undo_action::sort::run, "no such thing", 0, 0, {}, {}, {}, {{"false"}}, {}});
    ASSERT_TRUE(bad);
    const auto undone = keeper->undo(*bad);
    ASSERT_FALSE(undone);
    EXPECT_NE(undone.error().what.find("no such thing: false failed"), std::string::npos) << undone.error().what;
    EXPECT_TRUE(keeper->undo(*bad)) << "once";
  }
  std::ifstream in{f.path / "log"};
  std::string a, b;
  in >> a >> b;
  EXPECT_EQ(a + " " + b, "second first");
}

TEST(undo_keeper, starts_again_with_the_environment_and_the_folder_it_had) {
  folder f;
  {
    auto keeper = undo_keeper::start();
    ASSERT_TRUE(keeper);
    undo_action start{undo_action::sort::start, "again", 0, 0, f.path, f.path, f.path / "log", {{"/bin/sh", "-c", "echo $WORD $(pwd); trap"}}, {"WORD=hello", "PATH=/bin:/usr/bin"}};
    const auto id = keeper->add(start);
    ASSERT_TRUE(id && keeper->undo(*id));
    EXPECT_TRUE(eventually([&] { return fs::exists(f.path / "log") && fs::file_size(f.path / "log") > 0; }));
  }
  std::ifstream in{f.path / "log"};
  std::string line;
  std::getline(in, line);
  EXPECT_EQ(line, "hello " + f.path.string());
}

} // namespace
} // namespace flywheel
