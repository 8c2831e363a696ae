// kill -9 of the writer at any moment: every acknowledged event is there afterwards, and the chain is whole.

#include "cluster/base/random.hpp"
#include "tests/cluster/journal/journal_fixture.hpp"

#include <csignal>
#include <cstring>
#include <poll.h>
#include <sys/wait.h>
#include <thread>

using namespace flywheel;
using namespace flywheel::testing;
namespace fs = std::filesystem;

namespace {

struct ack {
  std::uint64_t seq;
  int round;
  int thread;
  int n;
};

std::string label(const ack& a) {
  return "round " + std::to_string(a.round) + " thread " + std::to_string(a.thread) + " n " + std::to_string(a.n);
}

/// The child: appends from several threads until it is killed, and tells each acknowledgement through the pipe.
[[noreturn]] void write_for_ever(const fs::path& folder, int round, int pipe) {
  journal_options options;
  options.mark_entries = 50; // marks and checkpoints all the time, so that kills meet them
  options.checkpoint_pages = 40;
  auto j = journal::open(folder, system_clock(), options);
  if (!j) {
    std::fprintf(stderr, "%s\n", j.error().to_string().c_str());
    ::_exit(1);
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (ack a{0, round, t, 0};; ++a.n) {
        event_draft d = draft(a.n);
        d.text = label(a);
        d.body = "{\"pad\":\"" + std::string(static_cast<std::size_t>(a.n % 7) * 700, 'x') + "\"}";
        const auto seq = (*j)->append({d, d});
        if (!seq)
          ::_exit(2);
        a.seq = *seq;
        if (::write(pipe, &a, sizeof a) != sizeof a) // smaller than PIPE_BUF: never torn
          ::_exit(3);
      }
    });
  for (;;)
    ::pause();
}

} // namespace

TEST(recovery, a_writer_killed_at_any_moment_loses_nothing_it_acknowledged) {
  const scratch dir;
  random_source random{4};
  std::vector<ack> acks;
  for (int round = 0; round < 24; ++round) {
    int channel[2];
    ASSERT_EQ(::pipe(channel), 0);
    const auto child = ::fork();
    if (child == 0) {
      ::close(channel[0]);
      write_for_ever(dir.path(), round, channel[1]);
    }
    ::close(channel[1]);
    // The moment of death: after so many acknowledgements, or so many microseconds after its start.
    ack a{};
    if (round % 4 == 3) {
      pollfd p{channel[0], POLLIN, 0};
      ::poll(&p, 1, static_cast<int>(random.below(8)));
    } else {
      for (auto left = 1 + random.below(60); left > 0 && ::read(channel[0], &a, sizeof a) == sizeof a; --left)
        acks.push_back(a);
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int how = 0;
    ASSERT_EQ(::waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how)) << "it ended by itself with " << WEXITSTATUS(how);
    while (::read(channel[0], &a, sizeof a) == sizeof a)
      acks.push_back(a);
    ::close(channel[0]);
    if (!fs::exists(dir / "journal.db")) {
      ASSERT_TRUE(acks.empty());
      continue;
    }

    const auto verdict = verify_journal(dir.path());
    ASSERT_TRUE(verdict) << verdict.error().to_string();
    ASSERT_TRUE(verdict->intact) << "round " << round << ": " << verdict->reason;
    ASSERT_EQ(verdict->events % 2, 0u); // pairs land together or not at all
    const auto events = all_events(dir.path());
    for (const auto& known : acks) {
      ASSERT_LE(known.seq, events.size()) << "round " << round << ": an acknowledged event is gone";
      ASSERT_EQ(events[known.seq - 1].text, label(known));
      ASSERT_EQ(events[known.seq - 2].text, label(known));
    }
  }
  EXPECT_GT(acks.size(), 300u);
}

TEST(recovery, readers_after_a_kill_see_everything_and_leave_the_files_alone) {
  const scratch dir;
  const auto child = ::fork();
  if (child == 0) {
    manual_clock clock;
    auto j = journal::open(dir.path(), clock);
    for (int i = 0; j && i < 30; ++i)
      if (!(*j)->append(draft(i)))
        ::_exit(1);
    ::_exit(0); // without closing
  }
  int how = 0;
  ASSERT_EQ(::waitpid(child, &how, 0), child);
  ASSERT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 0);
  const auto database = slurp(dir / "journal.db");
  const auto log = slurp(dir / "journal.db-wal");
  EXPECT_EQ(all_events(dir.path()).size(), 30u);
  EXPECT_TRUE(verify_journal(dir.path())->intact);
  EXPECT_EQ(slurp(dir / "journal.db"), database);
  EXPECT_EQ(slurp(dir / "journal.db-wal"), log);
  manual_clock clock;
  EXPECT_EQ((*journal::open(dir.path(), clock))->last_seq(), 30u);
  EXPECT_EQ(all_events(dir.path()).size(), 30u);
}

TEST(recovery, opening_after_a_kill_verifies_from_the_mark_on) {
  const scratch dir;
  journal_options options;
  options.mark_entries = 500;
  const auto child = ::fork();
  if (child == 0) {
    manual_clock clock;
    auto j = journal::open(dir.path(), clock, options);
    for (int i = 0; j && i < 3000; i += 100) {
      std::vector<event_draft> drafts;
      for (int k = 0; k < 100; ++k)
        drafts.push_back(draft(i + k));
      if (!(*j)->append(std::move(drafts)))
        ::_exit(1);
    }
    ::_exit(0);
  }
  int how = 0;
  ASSERT_EQ(::waitpid(child, &how, 0), child);
  ASSERT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 0);
  // Damage long before the mark is not met on opening; verify names it. Damage near the end is met at once.
  manual_clock clock;
  EXPECT_EQ((*journal::open(dir.path(), clock))->last_seq(), 3000u);
  tamper(dir.path(), "UPDATE event SET actor='x' WHERE seq=50");
  EXPECT_TRUE(journal::open(dir.path(), clock));
  EXPECT_EQ(verify_journal(dir.path())->first_bad, 50u);
  tamper(dir.path(), "UPDATE event SET actor='hpo' WHERE seq=50; UPDATE event SET actor='x' WHERE seq=2900");
  const auto j = journal::open(dir.path(), clock);
  ASSERT_FALSE(j);
  EXPECT_NE(j.error().what.find("entry 2900"), std::string::npos) << j.error().what;
}
