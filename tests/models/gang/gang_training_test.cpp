// The gang's training goes on to the bit, and an attempt that was given up publishes nothing.

#include "models/gang/gang_training.hpp"
#include "tests/nccl/gang_fixture.hpp"

#include <gmock/gmock.h>

#include <cmath>

namespace flywheel::testing {
namespace {

using ::testing::HasSubstr;

struct outcome {
  double loss = 0;
  std::uint64_t resumed_from = 0;
  std::array<char, 64> weights{};
  bool operator==(const outcome& o) const { return std::memcmp(&loss, &o.loss, sizeof loss) == 0 && weights == o.weights; }
};

class gang_training : public ::testing::Test {
protected:
  gang_training() {
    std::string pattern = (std::filesystem::temp_directory_path() / "flywheel-training-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      std::abort();
    folder_ = pattern;
  }
  ~gang_training() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  static gang_training_options small() {
    gang_training_options o;
    o.shape.vocabulary = 64, o.shape.width = 32, o.shape.hidden = 64, o.shape.layers = 1;
    o.sequences = 6;
    o.time = 8;
    o.steps = 12;
    o.checkpoint_every = 4;
    return o;
  }
  /// All ranks must agree; returns what they agree on.
  outcome train(int ranks, const gang_training_options& options) {
    shared_value<std::array<outcome, 4>> ends;
    gang_of_processes gang{ranks, backend::shared_memory, options.attempt};
    gang.run([&](int rank) -> std::string {
      auto board = rank_reporter::open("");
      const auto done = train_in_gang(gang.record(rank), options, *board);
      if (!done)
        return done.error().to_string();
      auto& mine = (*ends)[static_cast<std::size_t>(rank)];
      mine.loss = done->loss;
      mine.resumed_from = done->resumed_from;
      std::copy_n(done->weights.begin(), 64, mine.weights.begin());
      return {};
    });
    for (int r = 1; r < ranks; ++r)
      EXPECT_TRUE((*ends)[0] == (*ends)[static_cast<std::size_t>(r)]) << "rank " << r;
    return (*ends)[0];
  }
  std::filesystem::path folder_;
};

TEST_F(gang_training, learns) {
  auto o = small();
  o.sequences = 64;
  auto once = o;
  once.steps = 1;
  const auto first = train(1, once).loss;
  EXPECT_NEAR(first, std::log(64), 0.05) << "it knows nothing yet";
  o.steps = 60;
  o.rate = 1e-2;
  EXPECT_LT(train(2, o).loss, first - 0.2) << "some tokens are more frequent than others";
}

TEST_F(gang_training, goes_on_to_the_bit) {
  const auto undisturbed = train(2, small());
  auto o = small();
  o.checkpoints = folder_ / "a";
  EXPECT_TRUE(train(2, o) == undisturbed) << "saving changes nothing";
  auto part = small();
  part.checkpoints = folder_ / "b";
  part.steps = 9; // the newest checkpoint is of step 8
  train(2, part);
  part.steps = 12;
  part.attempt = 2;
  const auto resumed = train(2, part);
  EXPECT_EQ(resumed.resumed_from, 8u);
  EXPECT_TRUE(resumed == undisturbed);
  part.attempt = 3;
  const auto again = train(2, part);
  EXPECT_EQ(again.resumed_from, 12u);
  EXPECT_TRUE(again == undisturbed) << "nothing was left to do";
}

TEST_F(gang_training, goes_on_with_another_number_of_ranks) {
  auto o = small();
  o.checkpoints = folder_;
  o.steps = 8;
  train(3, o);
  o.steps = 12;
  o.attempt = 2;
  EXPECT_EQ(train(2, o).resumed_from, 8u);
}

TEST_F(gang_training, an_older_attempt_is_turned_away) {
  auto o = small();
  o.checkpoints = folder_;
  o.attempt = 2;
  train(1, o);
  gang_of_processes gang{1, backend::shared_memory};
  o.attempt = 1;
  auto board = rank_board::create(0, 1);
  auto reporter = rank_reporter::open("/proc/self/fd/" + std::to_string(board->fd()));
  const auto done = train_in_gang(gang.record(0), o, *reporter);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, errc::stale_epoch);
  const auto said = board->read(1, system_clock().mono());
  EXPECT_EQ(said->fault, rank_fault::own);
  EXPECT_THAT(said->fault_text, HasSubstr("attempt 2 has begun"));
}

TEST_F(gang_training, a_lost_peer_is_told_as_the_peers_fault) {
  gang_of_processes gang{2, backend::shared_memory};
  auto board = rank_board::create(0, 1);
  auto o = small();
  o.steps = 100'000;
  for (int r : {0, 1})
    gang.start(r, [&](int rank) -> std::string {
      auto reporter = rank_reporter::open(rank == 0 ? "/proc/self/fd/" + std::to_string(board->fd()) : "");
      const auto done = train_in_gang(gang.record(rank), o, *reporter);
      return done ? "no error" : std::string(name_of(done.error().code));
    });
  const auto until = system_clock().mono() + plenty;
  const auto steps = [&] { const auto r = board->read(2, system_clock().mono()); return r ? r->steps : 0; };
  while (steps() < 3 && system_clock().mono() < until)
    ::poll(nullptr, 0, 1);
  ::kill(gang.pid_of(1), SIGKILL);
  EXPECT_EQ(gang.wait(0), "worker_lost");
  const auto said = board->read(2, system_clock().mono());
  ASSERT_TRUE(said);
  EXPECT_EQ(said->phase, rank_phase::failed);
  EXPECT_EQ(said->fault, rank_fault::peer);
  EXPECT_EQ(said->blamed, 1);
  EXPECT_EQ(said->collective_name, "all_reduce");
  EXPECT_GE(said->collective, 7u);
}

TEST_F(gang_training, options_that_do_not_fit_are_refused) {
  gang_of_processes gang{1, backend::shared_memory};
  auto board = rank_reporter::open("");
  for (const auto change : {+[](gang_training_options& o) { o.sequences = 0; }, +[](gang_training_options& o) { o.sequences = 65; },
                            +[](gang_training_options& o) { o.time = 65; }, +[](gang_training_options& o) { o.shape.heads = 3; }}) {
    auto o = small();
    change(o);
    EXPECT_EQ(train_in_gang(gang.record(0), o, *board).error().code, errc::invalid_argument);
  }
  auto o = small();
  o.sequences = 7;
  EXPECT_EQ(train_in_gang(gang_of_processes{2, backend::shared_memory}.record(0), o, *board).error().code, errc::invalid_argument);
}

} // namespace
} // namespace flywheel::testing
