// `flywheel launch` with the built-in training and with scripts of others: killed, frozen, fenced.

#include "checkpoints/sharded_store.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/random.hpp"
#include "cluster/gang/rank_board.hpp"
#include "nccl/gang_record.hpp"
#include "tests/process/flywheel_program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sstream>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;

namespace {

std::vector<json> events_of(const std::string& out) {
  std::vector<json> all;
  std::istringstream in(out);
  for (std::string line; std::getline(in, line);) {
    auto e = json::parse(line, nullptr, false);
    EXPECT_FALSE(e.is_discarded()) << line;
    all.push_back(std::move(e));
  }
  return all;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// What the gang-train rank 0 printed: its exact loss and its weights.
std::string outcome_of(const std::string& err) {
  std::string found;
  std::istringstream in(err);
  for (std::string line; std::getline(in, line);)
    for (const char* key : {"loss_exact", "weights"})
      if (line.find(key) != std::string::npos)
        found += line + "\n";
  return found;
}

/// The board of a rank, seen from outside as its launcher sees it.
class foreign_board {
public:
  explicit foreign_board(int pid) {
    const int fd = ::open(("/proc/" + std::to_string(pid) + "/fd/3").c_str(), O_RDONLY | O_CLOEXEC);
    void* at = fd < 0 ? MAP_FAILED : ::mmap(nullptr, rank_board_bytes, PROT_READ, MAP_SHARED, fd, 0);
    page_ = at == MAP_FAILED ? nullptr : static_cast<const board_words*>(at);
    if (fd >= 0)
      ::close(fd);
  }
  ~foreign_board() {
    if (page_ != nullptr)
      ::munmap(const_cast<board_words*>(page_), rank_board_bytes);
  }
  foreign_board(const foreign_board&) = delete;
  foreign_board& operator=(const foreign_board&) = delete;
  std::uint64_t steps() const { return page_ == nullptr ? 0 : page_->steps.load(); }

private:
  const board_words* page_ = nullptr;
};

class launched : public ::testing::Test {
protected:
  workshop shop_;
  std::string checkpoints_ = (shop_.root / "checkpoints").string();

  std::vector<std::string> training(std::vector<std::string> options, const std::string& steps, const std::string& every = "10") const {
    std::vector<std::string> all{"launch", "--ranks", "2", "-o", "json"};
    all.insert(all.end(), options.begin(), options.end());
    for (const std::string& w : {std::string("--"), std::string(FLYWHEEL_PROGRAM), std::string("worker"), std::string("gang-train"), std::string("--steps"),
                                 steps, std::string("--every"), every})
      all.push_back(w);
    return all;
  }
  /// The process of a rank of the attempt, from the events so far.
  static int pid_in(const std::string& out, int rank, int attempt) {
    std::istringstream in(out);
    for (std::string line; std::getline(in, line);)
      if (const auto e = json::parse(line, nullptr, false); !e.is_discarded() && e["event"] == "rank_started" && e["rank"] == rank && e["attempt"] == attempt)
        return e["pid"];
    return 0;
  }
  int wait_for_step(const program& p, int rank, int attempt, std::uint64_t steps) const {
    int pid = 0;
    EXPECT_TRUE(eventually([&] { return (pid = pid_in(p.out(), rank, attempt)) > 0; }, std::chrono::seconds{60})) << p.err();
    const foreign_board board{pid};
    const auto until = system_clock().mono() + std::chrono::seconds{60};
    while (board.steps() < steps && system_clock().mono() < until)
      ::poll(nullptr, 0, 1);
    EXPECT_GE(board.steps(), steps);
    return pid;
  }
};

} // namespace

TEST_F(launched, a_rank_killed_at_any_step_changes_no_bit_of_the_result) {
  const auto undisturbed = run(shop_, training({}, "120"));
  ASSERT_EQ(undisturbed.exit_code, 0) << undisturbed.err;
  const auto expected = outcome_of(undisturbed.err);
  ASSERT_THAT(expected, HasSubstr("weights"));
  random_source random{20};
  for (int round = 0; round < 4; ++round) {
    const auto folder = checkpoints_ + std::to_string(round);
    program p{shop_, training({"--checkpoint", folder}, "120")};
    const auto step = random.below(110);
    const int victim = static_cast<int>(random.below(2));
    ::kill(wait_for_step(p, victim, 1, step), SIGKILL);
    const auto end = p.wait();
    ASSERT_EQ(end.exit_code, 0) << end.err;
    const auto events = events_of(end.out);
    EXPECT_EQ(events.back()["restarts"], 1) << "killed after step " << step;
    EXPECT_EQ(outcome_of(end.err), expected) << "killed after step " << step;
    for (const auto& e : events) {
      if (e["event"] == "cleared") {
        EXPECT_EQ(e["cause"]["rank"], victim);
        EXPECT_EQ(e["cause"]["end"], "killed");
        EXPECT_THAT(e["cause"]["collective_name"].get<std::string>(), ::testing::AnyOf("all_reduce", ""));
      }
      if (e["event"] == "rank_started") {
        EXPECT_NE(::kill(e["pid"].get<int>(), 0), 0);
      }
    }
  }
}

TEST_F(launched, a_frozen_rank_is_named_and_the_training_ends_the_same) {
  const auto expected = outcome_of(run(shop_, training({}, "120")).err);
  program p{shop_, training({"--checkpoint", checkpoints_}, "120")};
  ::kill(wait_for_step(p, 1, 1, 40), SIGSTOP);
  const auto end = p.wait();
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("rank 1"));
  EXPECT_THAT(end.err, HasSubstr("was frozen (stopped by a signal or a debugger)"));
  EXPECT_EQ(outcome_of(end.err), expected);
}

TEST_F(launched, killed_with_signal_9_nothing_is_left_and_the_next_launch_goes_on) {
  const auto expected = outcome_of(run(shop_, training({}, "150")).err);
  program p{shop_, training({"--checkpoint", checkpoints_}, "150")};
  const int first = wait_for_step(p, 0, 1, 50), second = pid_in(p.out(), 1, 1);
  p.signal(SIGKILL);
  EXPECT_EQ(p.wait().exit_code, -SIGKILL);
  EXPECT_TRUE(eventually([&] { return ::kill(first, 0) != 0 && ::kill(second, 0) != 0; }, std::chrono::seconds{20}));
  const auto again = run(shop_, training({"--checkpoint", checkpoints_}, "150"));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(events_of(again.out).back()["attempt"], 2) << "the number grows over launches";
  EXPECT_EQ(outcome_of(again.err), expected);
  EXPECT_THAT(again.err, Not(HasSubstr("resumed_from:  0\n")));
}

TEST_F(launched, an_attempt_that_sleeps_through_its_end_publishes_nothing_when_it_wakes) {
  // Attempt 1 runs where no launcher can reach it: a node that was cut off.
  const auto alone = shop_.root / "cut-off";
  std::filesystem::create_directory(alone);
  std::filesystem::permissions(alone, std::filesystem::perms::owner_all);
  nccl::gang_record record;
  record.gang = "old";
  record.folder = alone.string();
  record.members = {{"127.0.0.1", -1}};
  auto board = rank_board::create(0, 1);
  ASSERT_TRUE(board);
  const auto said = shop_.root / "old.err";
  const auto text = nccl::encode(record);
  const auto begun = take_attempt(checkpoints_);
  ASSERT_TRUE(begun && *begun == 1);
  const pid_t old = ::fork();
  if (old == 0) {
    ::dup2(::open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    ::dup2(::fcntl(board->fd(), F_DUPFD, 10), 3); // dup2 of 3 to 3 would leave it to close at exec
    ::setenv("FLYWHEEL_GANG", text->c_str(), 1);
    ::setenv("FLYWHEEL_ATTEMPT", "1", 1);
    ::setenv("FLYWHEEL_CHECKPOINT", checkpoints_.c_str(), 1);
    ::setenv("FLYWHEEL_RANK_BOARD", "/proc/self/fd/3", 1);
    ::execl(FLYWHEEL_PROGRAM, FLYWHEEL_PROGRAM, "worker", "gang-train", "--steps", "1000000", "--every", "3", nullptr);
    ::_exit(127);
  }
  const auto steps = [&] { const auto r = board->read(1, system_clock().mono()); return r ? r->steps : 0; };
  ASSERT_TRUE(eventually([&] { return steps() > 20; }, std::chrono::seconds{60})) << text_of(said);
  // Stopped while it does not hold the folder's lock; a stopped holder would be waited for.
  for (bool is_free = false; !is_free;) {
    ::kill(old, SIGSTOP);
    int state = 0;
    ASSERT_EQ(::waitpid(old, &state, WUNTRACED), old);
    ASSERT_TRUE(WIFSTOPPED(state)) << text_of(said);
    const int lock = ::open((checkpoints_ + "/lock").c_str(), O_RDWR | O_CLOEXEC);
    is_free = ::flock(lock, LOCK_EX | LOCK_NB) == 0;
    ::close(lock);
    if (!is_free)
      ::kill(old, SIGCONT);
  }
  const auto before = list_sharded(checkpoints_).value();
  ASSERT_FALSE(before.empty());

  const auto end = run(shop_, training({"--checkpoint", checkpoints_}, "60", "5"));
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const auto published = list_sharded(checkpoints_).value();
  EXPECT_EQ(published.back().attempt, 2u);

  ::kill(old, SIGCONT);
  int state = 0;
  ASSERT_EQ(::waitpid(old, &state, 0), old);
  ASSERT_TRUE(WIFEXITED(state));
  EXPECT_EQ(WEXITSTATUS(state), 1);
  EXPECT_THAT(text_of(said), HasSubstr("attempt 2 has begun, this is attempt 1"));
  EXPECT_EQ(list_sharded(checkpoints_).value(), published) << "not one checkpoint more, not one less";
}

TEST_F(launched, two_launches_into_one_folder_do_not_share_it) {
  program first{shop_, training({"--checkpoint", checkpoints_}, "1000000", "3")};
  wait_for_step(first, 0, 1, 10);
  const auto second = run(shop_, training({"--checkpoint", checkpoints_}, "60", "5"));
  EXPECT_EQ(second.exit_code, 0) << second.err;
  const auto end = first.wait(std::chrono::seconds{60});
  EXPECT_EQ(end.exit_code, 1);
  EXPECT_THAT(end.err, HasSubstr("attempt 2 has begun, this is attempt 1"));
}

TEST_F(launched, scripts_of_others_run_unchanged) {
  const auto end = run(shop_, {"launch", "-n", "3", "--", "sh", "-c", "echo $RANK of $WORLD_SIZE at $MASTER_ADDR; echo oops >&2"});
  EXPECT_EQ(end.exit_code, 0);
  for (const char* line : {"[0] 0 of 3 at 127.0.0.1\n", "[1] 1 of 3 at 127.0.0.1\n", "[2] 2 of 3 at 127.0.0.1\n"})
    EXPECT_THAT(end.out, HasSubstr(line));
  EXPECT_THAT(end.err, HasSubstr("[1] oops\n"));
}

TEST_F(launched, a_board_is_written_from_python_without_anything_of_ours) {
  if (std::system("python3 -c 'import mmap' 2>/dev/null") != 0)
    GTEST_SKIP() << "no python3";
  const auto script = shop_.root / "train.py";
  std::ofstream(script) << R"(
import mmap, os, struct, time
fd = os.open(os.environ["FLYWHEEL_RANK_BOARD"], os.O_RDWR)
board = mmap.mmap(fd, 4096)
def tell(phase, step, steps, loss):
    now = time.monotonic_ns()
    sequence = struct.unpack_from("<Q", board, 64)[0] | 1
    struct.pack_into("<Q", board, 64, sequence)
    struct.pack_into("<QQQQQQd", board, 72, phase, step, now, now, 0, steps, loss)
    struct.pack_into("<Q", board, 64, sequence + 1)
for step in range(50):
    tell(2, step + 1, step + 1, 1.0 / (step + 1))
if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    os._exit(5)
time.sleep(0.3)
)";
  const auto end = run(shop_, {"launch", "-n", "2", "-o", "json", "--", "python3", script.string()});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  const auto events = events_of(end.out);
  EXPECT_EQ(events.back()["steps"], 50);
  EXPECT_EQ(events.back()["loss"], 0.02);
  EXPECT_THAT(end.err, HasSubstr("rank 1"));
  EXPECT_THAT(end.err, HasSubstr("ended with exit code 5 in step 50"));
}

TEST_F(launched, the_exit_code_is_that_of_the_cause) {
  EXPECT_EQ(run(shop_, {"launch", "-r", "0", "--", "sh", "-c", "exit 7"}).exit_code, 7);
  const auto killed = run(shop_, {"launch", "-n", "2", "-r", "0", "--", "sh", "-c", "if [ $RANK = 1 ]; then kill -SEGV $$; fi; sleep 600"});
  EXPECT_EQ(killed.exit_code, 139);
  EXPECT_THAT(killed.err, HasSubstr("rank 1"));
  EXPECT_THAT(killed.err, HasSubstr("was killed by signal 11 (SEGV)"));
  const auto absent = run(shop_, {"launch", "--", "./no-such-program"});
  EXPECT_EQ(absent.exit_code, 127);
  EXPECT_THAT(absent.err, HasSubstr("could not be started"));
}

TEST_F(launched, asked_to_stop_it_ends_its_ranks_and_says_so) {
  program p{shop_, {"launch", "-n", "2", "-o", "json", "--", "sh", "-c", "trap 'echo stopping; exit 0' TERM; while true; do sleep 0.05; done"}};
  ASSERT_TRUE(eventually([&] { return pid_in(p.out(), 1, 1) > 0; }));
  const int rank = pid_in(p.out(), 0, 1);
  p.signal(SIGTERM);
  const auto end = p.wait();
  EXPECT_EQ(end.exit_code, 143);
  EXPECT_THAT(end.err, HasSubstr("the gang was stopped"));
  EXPECT_NE(::kill(rank, 0), 0);
}

TEST_F(launched, wrong_options_are_told_before_anything_starts) {
  const struct { std::vector<std::string> words; const char* says; } table[] = {
      {{"launch"}, "COMMAND is missing"},
      {{"launch", "--ranks", "0", "--", "true"}, "1 to 256 ranks"},
      {{"launch", "--ranks", "257", "--", "true"}, "1 to 256 ranks"},
      {{"launch", "--ranks", "two", "--", "true"}, "ranks"},
      {{"launch", "--step-timeout", "5", "--", "true"}, "'5' is not a duration"},
      {{"launch", "--start-timeout", "soon", "--", "true"}, "--start-timeout"},
      {{"launch", "--memory", "lots", "--", "true"}, "--memory"},
      {{"launch", "--ranks", "2", "--gpus", "0", "--", "true"}, "name one device for each rank"},
      {{"worker", "gang-train"}, "flywheel launch"},
  };
  for (const auto& row : table) {
    const auto end = run(shop_, row.words);
    EXPECT_EQ(end.exit_code, 2) << row.says;
    EXPECT_THAT(end.err, HasSubstr(row.says));
  }
  EXPECT_EQ(run(shop_, {"launch", "--checkpoint", "/proc/nowhere", "--", "true"}).exit_code, 3);
}
