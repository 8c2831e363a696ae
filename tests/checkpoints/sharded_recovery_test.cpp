// Killed while writing, or with the disk full: the newest published checkpoint loads, always.

#include "checkpoints/checkpoint_saver.hpp"
#include "tests/checkpoints/sample_checkpoint.hpp"
#include "tests/checkpoints/sharded_state.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int fewer = 10; ///< each start of an instrumented process takes longer
#else
constexpr int fewer = 1;
#endif

/// Saves step after step with two ranks in this process, as a new attempt, until it is killed. Each published step is told
/// through `said`.
[[noreturn]] void train(const fs::path& root, const std::vector<test::sample_tensor>& tensors, int said) {
  const auto attempt = next_attempt(root);
  const auto found = find_newest_sharded(root);
  if (!attempt || !found)
    ::_exit(2);
  auto store = sharded_store::begin(root, *attempt);
  if (!store)
    ::_exit(3);
  std::unique_ptr<checkpoint_saver> ranks[2];
  for (std::uint32_t rank = 0; rank < 2; ++rank) {
    saver_options o;
    o.rank = rank;
    o.ranks = 2;
    auto saver = checkpoint_saver::start(*store, test::parts_of_rank(tensors, rank, 2), o);
    if (!saver)
      ::_exit(4);
    ranks[rank] = std::move(saver).value();
  }
  for (std::uint64_t step = found->newest ? found->newest->contents().id.step + 1 : 1;; ++step) {
    for (std::uint32_t rank = 0; rank < 2; ++rank)
      if (!ranks[rank]->save(step, "{}", test::spans_of(test::state_of_rank(tensors, rank, 2, step))))
        ::_exit(5);
    if (!ranks[0]->wait() || !ranks[1]->wait() || ::write(said, &step, sizeof step) != sizeof step)
      ::_exit(6);
  }
}

void kill_many_times(const fs::path& root, int kills) {
  const auto tensors = test::sample_tensors(1000);
  random_source random{9};
  std::uint64_t published = 0;
  int in_first_save = 0;
  for (int round = 0; round < kills; ++round) {
    int said[2];
    ASSERT_EQ(::pipe(said), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(said[0]);
      train(root, tensors, said[1]);
    }
    ::close(said[1]);
    // Most are killed some moment after the start, in whatever they do then; every tenth after it has published one.
    std::uint64_t step = 0;
    if (round % 10 == 0 && ::read(said[0], &step, sizeof step) == sizeof step)
      published = std::max(published, step);
    ::usleep(static_cast<useconds_t>(random.below(8000)));
    ::kill(pid, SIGKILL);
    int state = 0;
    ::waitpid(pid, &state, 0);
    ASSERT_TRUE(WIFSIGNALED(state)) << "round " << round << ": ended by itself with " << WEXITSTATUS(state);
    const auto before = published;
    while (::read(said[0], &step, sizeof step) == sizeof step)
      published = std::max(published, step);
    in_first_save += published == before ? 1 : 0;
    ::close(said[0]);

    const auto found = find_newest_sharded(root);
    ASSERT_TRUE(found) << found.error().to_string();
    ASSERT_TRUE(found->damaged.empty()) << found->damaged.front().to_string();
    if (published == 0)
      continue;
    ASSERT_TRUE(found->newest) << "round " << round;
    ASSERT_GE(found->newest->contents().id.step, published) << "what wait() acknowledged is there";
    ASSERT_EQ(test::differences(*found->newest, tensors), "") << "round " << round;
    published = found->newest->contents().id.step;
  }
  EXPECT_GE(published, static_cast<std::uint64_t>(kills / 10));
  EXPECT_GT(in_first_save, kills / 20) << "many were killed before they had published anything";
  const auto left = std::distance(fs::directory_iterator{root}, {});
  EXPECT_LE(left, 2 + 3 + 1) << "counter and lock, checkpoints that the rule keeps, one that was begun";
}

} // namespace

TEST(sharded_recovery, killed_a_hundred_times_while_saving_to_disk_the_newest_published_loads) {
  test::scratch_folder folder;
  kill_many_times(folder.path(), 100 / fewer);
}

TEST(sharded_recovery, killed_nine_hundred_times_while_saving_to_memory_the_newest_published_loads) {
  // The same calls without the disk's waits: other moments are hit, and it takes seconds.
  const fs::path memory = fs::path{"/dev/shm"} / fs::path{test::scratch_folder{}.path()}.filename();
  std::error_code code;
  if (!fs::create_directory(memory, code))
    GTEST_SKIP() << "SKIPPED: no /dev/shm to write to; the test on disk covers the same calls";
  kill_many_times(memory, 900 / fewer);
  fs::remove_all(memory, code);
}

TEST(sharded_recovery, a_full_disk_is_an_error_and_the_one_before_stays) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(60'000);
  ASSERT_TRUE(test::save_sharded(sharded_store::begin(folder.path(), 1).value(), tensors, 1, 1));
  const auto size = fs::file_size(folder.path() / checkpoint_id{1, 1}.folder_name() / shard_file_name(0, 1));
  for (const auto room : {std::uintmax_t{5000}, size / 2, size - 1}) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      // A limit on the size of files stands in for the end of the disk: it is met in the same places.
      std::signal(SIGXFSZ, SIG_IGN);
      auto store = sharded_store::begin(folder.path(), 1);
      auto saver = checkpoint_saver::start(*store, test::parts_of_rank(tensors, 0, 1));
      const rlimit limit{room, room};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      const auto handed = (*saver)->save(2, "{}", test::spans_of(test::state_of_rank(tensors, 0, 1, 2)));
      const auto written = (*saver)->wait();
      const auto next = (*saver)->save(3, "{}", test::spans_of(test::state_of_rank(tensors, 0, 1, 3)));
      ::_exit(handed && !written && written.error().code == errc::disk_full && next ? 42 : 1);
    }
    int state = 0;
    ::waitpid(pid, &state, 0);
    EXPECT_EQ(WEXITSTATUS(state), 42) << "with room for " << room << " bytes";
    const auto found = find_newest_sharded(folder.path()).value();
    ASSERT_TRUE(found.newest && found.newest->contents().id.step == 1);
    EXPECT_EQ(test::differences(*found.newest, tensors), "");
    EXPECT_TRUE(fs::is_empty(folder.path() / checkpoint_id{1, 2}.folder_name())) << "nothing half-written stays";
  }
}
