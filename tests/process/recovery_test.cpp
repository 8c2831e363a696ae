// kill -9 of anything at any moment, then the same command: the same goal, no effect twice.

#include "cluster/base/json.hpp"
#include "tests/process/flywheel_program.hpp"
#include "tests/process/promises.hpp"

#include "checkpoints/registry.hpp"
#include "cluster/base/random.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/mount.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <thread>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using nlohmann::json;

namespace {

/// Accuracy of the evaluated model, as text.
std::string evaluated(const workshop& w) {
  for (const auto& e : w.journal()) {
    const auto body = json::parse(e.body);
    if (e.kind == event_kind::step_state && e.step == "evaluate" && body.value("state", "") == "done")
      return body["outputs"]["value"].dump();
  }
  return "none";
}

} // namespace

namespace {

/// Kills the program again and again while it runs the workshop's goal, each time when the journal has grown by a random
/// number of events (every phase gets its turn, on any machine), then lets it finish. Returns how often.
int kill_until_done(const workshop& w, std::size_t steady, std::uint64_t seed) {
  random_source dice{seed};
  int kills = 0;
  for (; kills < 12; ++kills) {
    program p{w, {"run", w.goal.string(), "--approve"}};
    const auto until = w.journal().size() + 1 + dice.below(steady / 8 + 1);
    if (!eventually([&] { return w.journal().size() >= until || !p.running(); }))
      ADD_FAILURE() << "no progress: " << p.err();
    if (!p.running())
      break;
    p.signal(SIGKILL);
    EXPECT_EQ(p.wait().exit_code, -SIGKILL);
  }
  const auto last = run(w, {"run", w.goal.string(), "--approve"});
  EXPECT_EQ(last.exit_code, 0) << last.err;
  return kills;
}

} // namespace

TEST(recovery, kill_9_of_the_program_at_random_moments_then_the_same_command) {
  workshop calm, rough, two_at_once;
  // One trial at a time: of two at once the quicker one teaches the other, and a kill may change which one that is.
  const char* const one_at_a_time = "resources: {slots: 1}\n";
  calm.small_goal(one_at_a_time);
  rough.small_goal(one_at_a_time);
  two_at_once.small_goal("resources: {slots: 2}\n");
  ASSERT_EQ(run(calm, {"run", calm.goal.string(), "--approve"}).exit_code, 0);
  const auto steady = calm.journal().size();
  EXPECT_GT(kill_until_done(rough, steady, 20261121), 3);
  expect_one_goal_done_once(rough);
  EXPECT_EQ(evaluated(rough), evaluated(calm)) << "the way there does not change the result (I13)";
  EXPECT_GT(kill_until_done(two_at_once, steady, 20261122), 3);
  expect_one_goal_done_once(two_at_once);
}

TEST(recovery, a_killed_or_frozen_worker_is_replaced_and_the_goal_goes_on) {
  workshop w;
  w.small_goal();
  program p{w, {"run", w.goal.string(), "--approve"}};
  for (const auto& [signal, step] : {std::pair{SIGKILL, "explore"}, std::pair{SIGSTOP, "search"}}) {
    // One worker each of two trials: what ends two workers of one trial is taken to be the trial's fault.
    ASSERT_TRUE(eventually([&] {
      const auto events = w.journal();
      return std::any_of(events.begin(), events.end(), [&](const event& e) {
        return e.kind == event_kind::trial_state && e.step == step && json::parse(e.body).value("state", "") == "running";
      });
    })) << p.err();
    std::vector<int> workers;
    ASSERT_TRUE(eventually([&] { return !(workers = children_of(p.pid(), "_worker")).empty(); })) << p.err();
    ::kill(workers.front(), signal);
    const int victim = workers.front();
    ASSERT_TRUE(eventually([&] { // killed from outside, also the frozen one
      const auto now = children_of(p.pid(), "_worker");
      return std::find(now.begin(), now.end(), victim) == now.end();
    })) << p.err();
  }
  EXPECT_EQ(p.wait().exit_code, 0) << p.err();
  EXPECT_THAT(p.err(), HasSubstr("in another worker"));
  expect_one_goal_done_once(w);
}

TEST(recovery, no_worker_outlives_a_killed_program) {
  workshop w;
  w.small_goal();
  std::vector<int> workers;
  {
    program p{w, {"run", w.goal.string(), "--approve"}};
    ASSERT_TRUE(eventually([&] { return !(workers = children_of(p.pid(), "_worker")).empty(); })) << p.err();
    p.signal(SIGKILL);
    p.wait();
  }
  for (const int worker : workers)
    EXPECT_TRUE(eventually([&] { return ::kill(worker, 0) != 0 || children_of(1, "_worker").empty(); },
                           std::chrono::seconds{15})) << "worker " << worker << " is an orphan (I11)";
}

TEST(recovery, ctrl_c_stops_cleanly_and_the_same_command_continues) {
  workshop w;
  w.small_goal();
  {
    program p{w, {"run", w.goal.string(), "--approve"}};
    ASSERT_TRUE(eventually([&] { return w.count(event_kind::trial_state) > 2; })) << p.err();
    p.signal(SIGINT);
    const auto end = p.wait(std::chrono::seconds{30});
    EXPECT_EQ(end.exit_code, 130) << end.err;
    EXPECT_THAT(end.err, HasSubstr("the same command continues"));
  }
  EXPECT_EQ(run(w, {"run", w.goal.string(), "--approve"}).exit_code, 0);
  expect_one_goal_done_once(w);
}

TEST(recovery, a_damaged_journal_is_refused_with_the_first_bad_entry_and_nothing_is_lost) {
  workshop w;
  w.small_goal();
  ASSERT_EQ(run(w, {"run", w.goal.string(), "--approve"}).exit_code, 0);
  const auto file = w.state / "journal.db";
  const auto size = std::filesystem::file_size(file);
  std::string bytes(size, '\0');
  std::fstream f{file, std::ios::in | std::ios::out | std::ios::binary};
  f.read(bytes.data(), static_cast<std::streamsize>(size));
  const auto at = bytes.find("small submitted"), other = bytes.find("submitted goal small");
  const auto where = other != std::string::npos ? other : at;
  ASSERT_NE(where, std::string::npos);
  f.seekp(static_cast<std::streamoff>(where));
  f.put('S');
  f.close();
  const auto verify = run(w, {"journal", "verify"});
  EXPECT_EQ(verify.exit_code, 1);
  EXPECT_THAT(verify.out, HasSubstr("entry 1"));
  const auto end = run(w, {"run", w.goal.string(), "--approve"});
  EXPECT_NE(end.exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size(file), size) << "a damaged journal is left as it is";
}

TEST(recovery, a_damaged_model_is_never_served) {
  workshop w;
  w.small_goal();
  ASSERT_EQ(run(w, {"run", w.goal.string(), "--approve"}).exit_code, 0);
  const auto folder = state_layout{w.state}.models() / "small" / "v1";
  std::filesystem::path victim;
  for (const auto& e : std::filesystem::directory_iterator{folder})
    if (e.path().extension() != ".json" && e.is_regular_file())
      victim = e.path();
  ASSERT_FALSE(victim.empty());
  std::filesystem::permissions(victim, std::filesystem::perms::owner_all);
  std::fstream f{victim, std::ios::in | std::ios::out | std::ios::binary};
  f.seekg(200);
  const char old = static_cast<char>(f.get());
  f.seekp(200);
  f.put(static_cast<char>(old ^ 1));
  f.close();
  const auto end = run(w, {"predict", "small", "total_day_minutes=1"});
  EXPECT_EQ(end.exit_code, 1) << end.out;
  EXPECT_THAT(end.err, HasSubstr("checksum"));
}

namespace {

/// A small disk of its own for the state directory; not there if this user may not mount one.
class small_disk {
public:
  small_disk(std::filesystem::path at, const char* size) : at_(std::move(at)) {
    std::filesystem::create_directories(at_);
    mounted_ = ::mount("tmpfs", at_.c_str(), "tmpfs", 0, (std::string{"size="} + size).c_str()) == 0;
  }
  ~small_disk() {
    if (mounted_)
      (void)::umount2(at_.c_str(), MNT_DETACH);
  }
  small_disk(const small_disk&) = delete;
  small_disk& operator=(const small_disk&) = delete;
  bool mounted() const noexcept { return mounted_; }
  /// Writes zeros until only `left` bytes are free.
  void fill(std::uintmax_t left) const {
    std::ofstream out{at_ / "filler", std::ios::binary};
    const std::string block(4096, '\0');
    while (out && std::filesystem::space(at_).available > left)
      out.write(block.data(), static_cast<std::streamsize>(block.size())).flush();
  }
  void clear() const { std::filesystem::remove(at_ / "filler"); }

private:
  std::filesystem::path at_;
  bool mounted_ = false;
};

} // namespace

// Where the disk fills up decides who meets it: the steward's snapshot, the journal, a checkpoint.
TEST(recovery, a_full_disk_is_waited_out_and_nothing_is_lost) {
  for (const std::uintmax_t left : {200u << 10, 700u << 10, 1500u << 10}) {
    workshop w;
    w.small_goal();
    small_disk disk{w.root / "disk", "64m"};
    if (!disk.mounted())
      GTEST_SKIP() << "SKIPPED: recovery.a_full_disk: this user may not mount a small disk (needs root)";
    w.state = w.root / "disk" / "state";
    disk.fill(left);
    program p{w, {"run", w.goal.string(), "--approve"}};
    ASSERT_TRUE(eventually([&] { return p.err().find("disk is full") != std::string::npos; })) << p.err();
    EXPECT_TRUE(p.running()) << "it waits for room";
    disk.clear();
    const auto end = p.wait();
    EXPECT_EQ(end.exit_code, 0) << end.err;
    expect_one_goal_done_once(w);
  }
}
