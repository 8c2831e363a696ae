// A full disk, and a disk that fails: what was acknowledged stays, what was refused never appears, and the journal goes
// on when the disk does.

#include "tests/cluster/journal/journal_fixture.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>

using namespace flywheel;
using namespace flywheel::testing;
namespace fs = std::filesystem;

namespace {

#define REQUIRE(condition)                                                                                             \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      std::fprintf(stderr, "in the child, line %d: %s\n", __LINE__, #condition);                                       \
      ::_exit(1);                                                                                                      \
    }                                                                                                                  \
  } while (false)

/// Runs `body` in a process of its own, whose limits and whose end are then its own.
bool in_child(const std::function<void()>& body) {
  const auto child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  int how = 0;
  return ::waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

/// From now on no file grows beyond `bytes`; a write that would is refused like on a full disk. RLIM_INFINITY: no limit.
void limit_files(rlim_t bytes) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit r{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &r) == 0);
  r.rlim_cur = bytes;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &r) == 0);
}

event_draft sized(int n, std::size_t bytes) {
  auto d = draft(n);
  d.body = "{\"pad\":\"" + std::string(bytes, 'x') + "\"}";
  return d;
}

} // namespace

TEST(disk_full, an_append_fails_whole_and_the_journal_goes_on_afterwards) {
  const scratch dir;
  const bool good = in_child([&] {
    manual_clock clock;
    auto j = journal::open(dir.path(), clock);
    REQUIRE(j);
    int acknowledged = 0;
    for (const rlim_t limit : {rlim_t{100'000}, rlim_t{101'000}, rlim_t{400'001}, rlim_t{1'000'123}}) {
      limit_files(limit);
      int refused = 0;
      for (int i = 0; i < 60 && refused < 3; ++i) {
        const auto seq = (*j)->append({sized(acknowledged, 4000), sized(acknowledged + 1, 4000)});
        if (seq) {
          acknowledged += 2;
          REQUIRE(*seq == static_cast<std::uint64_t>(acknowledged));
        } else {
          ++refused;
          REQUIRE(seq.error().code == errc::disk_full);
          REQUIRE((*j)->last_seq() == static_cast<std::uint64_t>(acknowledged));
        }
      }
      REQUIRE(refused == 3);
      const auto reader = journal_reader::open(dir.path()); // reading needs no space
      REQUIRE(reader && *reader->last_seq() == static_cast<std::uint64_t>(acknowledged));
      limit_files(RLIM_INFINITY);
      REQUIRE(*(*j)->append(sized(acknowledged, 10)) == static_cast<std::uint64_t>(acknowledged) + 1);
      ++acknowledged;
    }
    j->reset();
    const auto verdict = verify_journal(dir.path());
    REQUIRE(verdict && verdict->intact && verdict->events == static_cast<std::uint64_t>(acknowledged));
  });
  EXPECT_TRUE(good);
  EXPECT_GT(all_events(dir.path()).size(), 50u);
}

TEST(disk_full, at_any_size_a_killed_writer_leaves_what_was_acknowledged) {
  for (rlim_t limit = 30'000; limit < 60'000; limit += 1'237) {
    const fast_scratch dir;
    int acks[2];
    ASSERT_EQ(::pipe(acks), 0);
    const bool good = in_child([&] {
      manual_clock clock;
      auto j = journal::open(dir.path(), clock);
      REQUIRE(j);
      limit_files(limit);
      for (int n = 0;; ++n) {
        const auto seq = (*j)->append(draft(n));
        if (!seq)
          REQUIRE(seq.error().code == errc::disk_full);
        const char ack = seq ? 'y' : 'n';
        REQUIRE(::write(acks[1], &ack, 1) == 1);
        if (!seq)
          ::_exit(0); // without closing
      }
    });
    ASSERT_TRUE(good) << limit;
    ::close(acks[1]);
    std::uint64_t acknowledged = 0;
    for (char ack = 0; ::read(acks[0], &ack, 1) == 1;)
      acknowledged += ack == 'y';
    ::close(acks[0]);
    const auto verdict = verify_journal(dir.path());
    ASSERT_TRUE(verdict && verdict->intact) << limit << ": " << (verdict ? verdict->reason : "");
    ASSERT_EQ(verdict->events, acknowledged) << limit;
  }
}

TEST(disk_full, a_new_journal_is_not_half_made) {
  const scratch dir;
  const bool good = in_child([&] {
    manual_clock clock;
    limit_files(5'000);
    const auto j = journal::open(dir.path(), clock);
    REQUIRE(!j && j.error().code == errc::disk_full);
    REQUIRE(!fs::exists(dir / "journal.db"));
    limit_files(RLIM_INFINITY);
    const auto again = journal::open(dir.path(), clock);
    REQUIRE(again && (*again)->last_seq() == 0);
  });
  EXPECT_TRUE(good);
  EXPECT_TRUE(verify_journal(dir.path())->intact);
}

TEST(disk_full, on_a_full_file_system_acknowledged_events_stay_and_reading_works) {
  const scratch dir;
  if (::mount("none", dir.path().c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "SKIPPED journal on a full tmpfs: mounting needs root; the RLIMIT_FSIZE variants ran";
  const bool good = in_child([&] {
    manual_clock clock;
    auto j = journal::open(dir.path(), clock);
    REQUIRE(j);
    spill(dir / "ballast", std::string(300'000, 'x'));
    std::uint64_t acknowledged = 0;
    for (int n = 0;; ++n) {
      const auto seq = (*j)->append(sized(n, 2000));
      if (!seq) {
        REQUIRE(seq.error().code == errc::disk_full);
        break;
      }
      acknowledged = *seq;
    }
    REQUIRE(acknowledged > 20);
    const auto reader = journal_reader::open(dir.path());
    REQUIRE(reader && reader->read(journal_filter{}).value_or({}).size() == acknowledged);
    REQUIRE(verify_journal(dir.path())->intact);
    j->reset(); // nothing can be written on closing either
    {
      const auto full = journal::open(dir.path(), clock);
      REQUIRE(full || full.error().code == errc::disk_full);
    }
    fs::remove(dir / "ballast");
    j = journal::open(dir.path(), clock);
    REQUIRE(j);
    REQUIRE((*j)->last_seq() == acknowledged);
    REQUIRE(*(*j)->append(draft(1)) == acknowledged + 1);
    j->reset();
    REQUIRE(verify_journal(dir.path())->intact);
  });
  EXPECT_TRUE(good);
  ::umount(dir.path().c_str());
}

TEST(disk_full, all_callers_of_a_failed_commit_are_told) {
  const scratch dir;
  const bool good = in_child([&] {
    manual_clock clock;
    auto j = journal::open(dir.path(), clock);
    REQUIRE(j);
    limit_files(200'000);
    std::atomic<int> yes{0};
    std::atomic<int> no{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 40; ++i) {
          const auto seq = (*j)->append(sized(t, 3000));
          seq ? ++yes : ++no;
          REQUIRE(seq || seq.error().code == errc::disk_full);
        }
      });
    for (auto& t : threads)
      t.join();
    REQUIRE(yes + no == 320 && yes > 0 && no > 0);
    REQUIRE((*j)->last_seq() == static_cast<std::uint64_t>(yes.load()));
    limit_files(RLIM_INFINITY);
    j->reset();
    const auto verdict = verify_journal(dir.path());
    REQUIRE(verdict && verdict->intact && verdict->events == static_cast<std::uint64_t>(yes.load()));
  });
  EXPECT_TRUE(good);
}

// ---- A disk whose fsync fails -----------------------------------------------------------------------------------------

namespace {

std::atomic<int> syncs_to_fail{0};
const sqlite3_io_methods* real_methods = nullptr;
sqlite3_io_methods failing_methods;
int (*real_open)(sqlite3_vfs*, sqlite3_filename, sqlite3_file*, int, int*) = nullptr;

int failing_sync(sqlite3_file* file, int flags) {
  int left = syncs_to_fail;
  while (left > 0)
    if (syncs_to_fail.compare_exchange_weak(left, left - 1))
      return SQLITE_IOERR_FSYNC;
  return real_methods->xSync(file, flags);
}

int open_with_failing_sync(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* file, int flags, int* out) {
  const int code = real_open(vfs, name, file, flags, out);
  if (code == SQLITE_OK && (flags & SQLITE_OPEN_WAL) != 0) {
    real_methods = file->pMethods;
    failing_methods = *real_methods;
    failing_methods.xSync = failing_sync;
    file->pMethods = &failing_methods;
  }
  return code;
}

/// Makes the fsync of every log fail on demand, in this process, for good.
void install_failing_disk() {
  static sqlite3_vfs shim = *sqlite3_vfs_find(nullptr);
  real_open = shim.xOpen;
  shim.zName = "failing";
  shim.xOpen = open_with_failing_sync;
  shim.pNext = nullptr;
  sqlite3_vfs_register(&shim, 1);
}

} // namespace

TEST(disk_failure, an_entry_whose_fsync_failed_does_not_come_back_after_a_crash) {
  const scratch dir;
  const bool good = in_child([&] {
    install_failing_disk();
    manual_clock clock;
    auto j = journal::open(dir.path(), clock);
    REQUIRE(j);
    for (int n = 0; n < 5; ++n)
      REQUIRE((*j)->append(draft(n)));
    syncs_to_fail = 1;
    const auto seq = (*j)->append(sized(5, 10'000));
    REQUIRE(!seq && seq.error().code == errc::io_failed);
    REQUIRE((*j)->last_seq() == 5);
    ::_exit(0); // killed
  });
  EXPECT_TRUE(good);
  const auto events = all_events(dir.path());
  EXPECT_EQ(events.size(), 5u);
  EXPECT_TRUE(verify_journal(dir.path())->intact);
}

TEST(disk_failure, the_journal_goes_on_when_the_disk_does) {
  const scratch dir;
  const bool good = in_child([&] {
    install_failing_disk();
    manual_clock clock;
    auto j = journal::open(dir.path(), clock);
    REQUIRE(j);
    for (const int failures : {1, 2, 3, 7}) {
      const auto before = (*j)->last_seq();
      const auto head = (*j)->head();
      REQUIRE((*j)->append({draft(1), draft(2)}));
      syncs_to_fail = failures;
      for (int i = 0; syncs_to_fail > 0; ++i) {
        const auto seq = (*j)->append(draft(100 + i));
        REQUIRE(!seq && seq.error().code == errc::io_failed);
        REQUIRE(i < 20);
      }
      REQUIRE((*j)->last_seq() == before + 2);
      REQUIRE((*j)->head() != head);
      REQUIRE(*(*j)->append(draft(3)) == before + 3);
    }
    j->reset();
    const auto verdict = verify_journal(dir.path());
    REQUIRE(verdict && verdict->intact && verdict->events == 12);
  });
  EXPECT_TRUE(good);
  for (const auto& e : all_events(dir.path()))
    EXPECT_EQ(e.text.find("trial 10"), std::string::npos); // none that was refused
}
