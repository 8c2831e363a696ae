// Every kind of damage to the journal's files ends in a verified prefix or in journal_damaged that names the first bad
// entry; never in a crash, and never in an entry that was not written like that.

#include "cluster/base/random.hpp"
#include "cluster/content/file.hpp"
#include "cluster/journal/chain_format.hpp"
#include "cluster/journal/log_format.hpp"
#include "cluster/journal/mark_format.hpp"
#include "tests/cluster/journal/journal_fixture.hpp"

#include <fcntl.h>
#include <map>
#include <sys/wait.h>

using namespace flywheel;
using namespace flywheel::testing;
namespace fs = std::filesystem;

namespace {

constexpr int per_call = 10;

/// FLYWHEEL_TEST_DEPTH=full looks at every bit where the quick run takes samples.
bool exhaustive() {
  const char* depth = std::getenv("FLYWHEEL_TEST_DEPTH");
  return depth != nullptr && std::string_view{depth} == "full";
}

/// The journal's files as bytes.
using image = std::map<std::string, std::string>;

image take(const fs::path& folder) {
  image files;
  for (const auto* name : {"journal.db", "journal.db-wal", "journal.mark"})
    if (fs::exists(folder / name))
      files[name] = slurp(folder / name);
  return files;
}

void restore(const fs::path& folder, const image& files) {
  for (const auto* name : {"journal.db", "journal.db-wal", "journal.db-shm", "journal.mark"})
    fs::remove(folder / name);
  for (const auto& [name, bytes] : files)
    spill(folder / name, bytes);
}

/// A journal of `n` events, closed as it should be.
image closed_image(const fs::path& folder, int n) {
  manual_clock clock;
  write_events(folder, n, clock, per_call);
  return take(folder);
}

/// A journal of `n` events whose writer was killed: everything is still in the log.
image killed_image(const fs::path& folder, int n) {
  const auto child = ::fork();
  if (child == 0) {
    manual_clock clock;
    auto j = journal::open(folder, clock);
    for (int i = 0; j && i < n;) {
      std::vector<event_draft> drafts;
      for (int k = 0; k < per_call; ++k, ++i)
        drafts.push_back(draft(i));
      if (!(*j)->append(std::move(drafts)))
        ::_exit(1);
    }
    ::_exit(0); // without closing
  }
  int how = 0;
  EXPECT_EQ(::waitpid(child, &how, 0), child);
  EXPECT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 0);
  auto files = take(folder);
  EXPECT_GT(files["journal.db-wal"].size(), 40'000u);
  return files;
}

std::string seq_name(std::uint64_t seq) { return "entry " + std::to_string(seq); }

bool is_prefix(const std::vector<event>& part, const std::vector<event>& whole) {
  return part.size() <= whole.size() && same(part, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(part.size())});
}

/// Reads as far as it goes.
std::vector<event> readable(const fs::path& folder, bool& ended_well) {
  std::vector<event> events;
  const auto reader = journal_reader::open(folder);
  ended_well = reader && reader->read(journal_filter{}, [&](const event& e) {
    events.push_back(e);
    return true;
  });
  return events;
}

/// Searches find exactly what a plain walk over `events` finds.
bool searches_agree(const fs::path& folder, const std::vector<event>& events) {
  const auto reader = journal_reader::open(folder);
  if (!reader)
    return false;
  for (const auto member : {&event::goal, &event::subject, &event::key}) {
    std::map<std::string, std::vector<event>> groups;
    for (const auto& e : events)
      if (!(e.*member).empty())
        groups[e.*member].push_back(e);
    for (const auto& [value, expected] : groups) {
      journal_filter f;
      (member == &event::goal ? f.goal : member == &event::subject ? f.subject : f.key) = value;
      const auto found = reader->read(f);
      if (!found || !same(*found, expected))
        return false;
    }
  }
  for (const auto kind : {event_kind::decision, event_kind::trial_state, event_kind::note}) {
    journal_filter f;
    f.kinds = {kind};
    std::vector<event> expected;
    for (const auto& e : events)
      if (e.kind == kind)
        expected.push_back(e);
    const auto found = reader->read(f);
    if (!found || !same(*found, expected))
      return false;
  }
  return true;
}

enum class outcome { harmless, shorter, named, index_only, refused };

/// The promise of this file, checked for whatever lies in `folder` now. Empty if it holds.
std::string check(const fs::path& folder, const std::vector<event>& original, outcome& what) {
  bool ended_well = false;
  const auto read = readable(folder, ended_well);
  if (!is_prefix(read, original))
    return "the reader handed out something that was never written";
  const auto verdict = verify_journal(folder);
  if (!verdict) {
    what = outcome::refused;
    return verdict.error().code == errc::incompatible_version || verdict.error().code == errc::io_failed
               ? "" : "verify: " + verdict.error().to_string();
  }
  if (verdict->intact) {
    what = verdict->events == original.size() ? outcome::harmless : outcome::shorter;
    if (!ended_well || read.size() != verdict->events)
      return "intact, but reading stops after " + std::to_string(read.size());
    if (verdict->events > 0 && verdict->head != original[verdict->events - 1].hash)
      return "another head";
    return searches_agree(folder, read) ? "" : "intact, but a search misses something";
  }
  if (verdict->first_bad == 0) {
    what = outcome::index_only;
    if (!is_prefix(read, original) || verdict->events != original.size() || verdict->reason.empty())
      return "only the index is said to be bad: " + verdict->reason;
    return "";
  }
  what = outcome::named;
  if (verdict->reason.find(seq_name(verdict->first_bad)) == std::string::npos)
    return "the first bad entry is not named: " + verdict->reason;
  if (verdict->events + 1 != verdict->first_bad || verdict->first_bad > original.size() + 1)
    return "entry " + std::to_string(verdict->first_bad) + " cannot be the first bad one: " + verdict->reason;
  return "";
}

} // namespace

TEST(corruption, a_database_cut_at_any_byte_of_its_last_4_kib_is_refused_by_name) {
  const fast_scratch dir;
  const auto files = closed_image(dir.path(), 60);
  const auto original = all_events(dir.path());
  ASSERT_EQ(original.size(), 60u);
  const auto size = files.at("journal.db").size();
  manual_clock clock;
  for (std::size_t cut = 1; cut <= 4096; ++cut) {
    auto damaged = files;
    damaged["journal.db"].resize(size - cut);
    restore(dir.path(), damaged);
    const auto j = journal::open(dir.path(), clock);
    ASSERT_FALSE(j) << "cut " << cut;
    ASSERT_EQ(j.error().code, errc::journal_damaged) << j.error().to_string();
    ASSERT_TRUE(j.error().what.find("entry ") != std::string::npos) << j.error().what;
    ASSERT_FALSE(j.error().hint.empty());
    if (cut % 32 == 0 || exhaustive()) {
      outcome what{};
      ASSERT_EQ(check(dir.path(), original, what), "") << "cut " << cut;
      ASSERT_TRUE(what == outcome::named || what == outcome::index_only) << "cut " << cut;
    }
  }
}

TEST(corruption, a_database_cut_page_by_page_down_to_nothing_keeps_its_readable_prefix) {
  const fast_scratch dir;
  const auto files = closed_image(dir.path(), 400);
  const auto original = all_events(dir.path());
  manual_clock clock;
  std::size_t longest = 0;
  for (std::size_t size = files.at("journal.db").size() - 4096;; size -= 4096) {
    for (const std::size_t extra : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{4095}}) {
      auto damaged = files;
      damaged["journal.db"].resize(std::min(size + extra, files.at("journal.db").size() - 1));
      restore(dir.path(), damaged);
      outcome what{};
      ASSERT_EQ(check(dir.path(), original, what), "") << size + extra;
      bool ended_well = false;
      longest = std::max(longest, readable(dir.path(), ended_well).size());
      const auto j = journal::open(dir.path(), clock);
      ASSERT_FALSE(j);
      ASSERT_EQ(j.error().code, errc::journal_damaged) << j.error().to_string();
    }
    if (size == 0)
      break;
  }
  EXPECT_GT(longest, 100u); // the reader does go as far as the pages go
}

TEST(corruption, a_log_cut_at_any_byte_of_its_last_4_kib_keeps_whole_calls) {
  const fast_scratch dir;
  const auto files = killed_image(dir.path(), 50);
  const auto original = all_events(dir.path());
  ASSERT_EQ(original.size(), 50u);
  const auto size = files.at("journal.db-wal").size();
  manual_clock clock;
  for (std::size_t cut = 0; cut <= 4096; ++cut) {
    auto damaged = files;
    damaged["journal.db-wal"].resize(size - cut);
    restore(dir.path(), damaged);
    auto j = journal::open(dir.path(), clock);
    ASSERT_TRUE(j) << "cut " << cut << ": " << j.error().to_string();
    // The last frame is the last call's; the calls before it were acknowledged and must be there.
    const std::uint64_t expected = cut == 0 ? 50 : 50 - per_call;
    ASSERT_EQ((*j)->last_seq(), expected) << "cut " << cut;
    ASSERT_EQ((*j)->head(), original[expected - 1].hash);
    if (cut % 64 == 0) {
      const auto seq = (*j)->append(draft(1));
      ASSERT_TRUE(seq && *seq == expected + 1);
      j->reset();
      const auto verdict = verify_journal(dir.path());
      ASSERT_TRUE(verdict && verdict->intact) << verdict->reason;
      ASSERT_EQ(verdict->events, expected + 1);
    }
  }
}

TEST(corruption, a_log_cut_anywhere_gives_whole_calls_or_is_refused) {
  const fast_scratch dir;
  const auto files = killed_image(dir.path(), 100);
  const auto original = all_events(dir.path());
  random_source random{1};
  for (int i = 0; i < 150; ++i) {
    auto damaged = files;
    damaged["journal.db-wal"].resize(random.below(files.at("journal.db-wal").size()));
    restore(dir.path(), damaged);
    outcome what{};
    ASSERT_EQ(check(dir.path(), original, what), "") << damaged["journal.db-wal"].size();
    bool ended_well = false;
    ASSERT_EQ(readable(dir.path(), ended_well).size() % per_call, 0u);
  }
}

TEST(corruption, entries_missing_at_the_end_are_noticed_up_to_the_mark) {
  const fast_scratch dir;
  auto files = killed_image(dir.path(), 100);
  const auto original = all_events(dir.path());
  files["journal.mark"] = to_text({95, original[94].hash});
  files["journal.db-wal"].resize(files["journal.db-wal"].size() - 1); // 90 are left
  restore(dir.path(), files);
  manual_clock clock;
  const auto j = journal::open(dir.path(), clock);
  ASSERT_FALSE(j);
  EXPECT_EQ(j.error().code, errc::journal_damaged);
  EXPECT_NE(j.error().what.find("entry 91 is missing"), std::string::npos) << j.error().what;
  const auto verdict = verify_journal(dir.path());
  EXPECT_FALSE(verdict->intact);
  EXPECT_EQ(verdict->first_bad, 91u);
  EXPECT_EQ(verdict->events, 90u);
}

TEST(corruption, a_lost_or_emptied_database_or_log_is_not_taken_for_a_new_one) {
  const fast_scratch dir;
  const auto closed = closed_image(dir.path(), 50);
  manual_clock clock;
  const auto refused = [&](const image& files) {
    restore(dir.path(), files);
    const auto j = journal::open(dir.path(), clock);
    const auto verdict = verify_journal(dir.path());
    EXPECT_FALSE(j);
    EXPECT_TRUE(verdict && !verdict->intact && verdict->first_bad == 1);
    return !j && j.error().code == errc::journal_damaged;
  };
  auto files = closed;
  files["journal.db"].clear();
  EXPECT_TRUE(refused(files));
  files.erase("journal.db");
  EXPECT_TRUE(refused(files));
  files = closed;
  files["journal.db"] = "SQLite format 2? no: just text, longer than a header would be ........................"
                        "................................................................................";
  EXPECT_TRUE(refused(files));

  const fast_scratch other;
  auto killed = killed_image(other.path(), 50);
  killed["journal.db"].clear(); // SQLite would delete the log of an empty database
  EXPECT_TRUE(refused(killed));
  EXPECT_EQ(slurp(dir / "journal.db-wal"), killed["journal.db-wal"]);
  // Without its mark a healthy journal is verified in full, and goes on.
  files = closed;
  files.erase("journal.mark");
  restore(dir.path(), files);
  EXPECT_EQ((*journal::open(dir.path(), clock))->last_seq(), 50u);
}

TEST(corruption, bits_flipped_all_over_the_database_are_named_or_harmless) {
  const fast_scratch dir;
  const auto files = closed_image(dir.path(), 120);
  const auto original = all_events(dir.path());
  const auto& good = files.at("journal.db");
  restore(dir.path(), files);
  std::map<outcome, int> counts;
  random_source random{20261121};
  const auto flip = [&](std::size_t byte, unsigned mask) {
    // In place: thousands of whole copies would only cost time. No connection is open now.
    const auto fd = open_file(dir / "journal.db", O_WRONLY);
    const char altered = static_cast<char>(good[byte] ^ static_cast<char>(mask));
    ASSERT_EQ(::pwrite(fd->get(), &altered, 1, static_cast<off_t>(byte)), 1);
    outcome what{};
    const auto problem = check(dir.path(), original, what);
    ++counts[what];
    ASSERT_EQ(problem, "") << "byte " << byte << " mask " << mask;
    ASSERT_NE(what, outcome::shorter) << "byte " << byte << " mask " << mask;
    fs::remove(dir / "journal.db-wal");
    fs::remove(dir / "journal.db-shm");
    ASSERT_EQ(::pwrite(fd->get(), &good[byte], 1, static_cast<off_t>(byte)), 1);
  };
  // Every bit of the file's header, and each byte of every page's header; ...
  for (std::size_t i = 0; i < 108; ++i)
    for (unsigned bit = 0; bit < 8; ++bit)
      ASSERT_NO_FATAL_FAILURE(flip(i, 1u << bit));
  for (std::size_t page = 4096; page < good.size(); page += 4096)
    for (std::size_t i = page; i < page + 12; ++i)
      ASSERT_NO_FATAL_FAILURE(flip(i, 1u << random.below(8)));
  // ... bytes all over the definitions and one page of entries (every one, if exhaustive); ...
  const std::size_t step = exhaustive() ? 1 : 4;
  for (std::size_t i = 108; i < 4096; i += step)
    if (good[i] != 0) {
      ASSERT_NO_FATAL_FAILURE(flip(i, 1u << random.below(8)));
    }
  std::size_t page_of_entries = good.find(original[30].text) / 4096 * 4096;
  for (std::size_t i = page_of_entries; i < page_of_entries + 4096; i += step)
    ASSERT_NO_FATAL_FAILURE(flip(i, 1u << random.below(8)));
  // ... and bytes anywhere.
  for (int i = 0; i < (exhaustive() ? 20'000 : 500); ++i)
    ASSERT_NO_FATAL_FAILURE(flip(random.below(good.size()), 1u + static_cast<unsigned>(random.below(255))));
  EXPECT_GT(counts[outcome::named], 500);
  EXPECT_GT(counts[outcome::index_only], 100);
  EXPECT_GT(counts[outcome::harmless], 100); // free space within pages
  std::printf("flips: %d named, %d index or structure, %d harmless, %d refused\n", counts[outcome::named],
              counts[outcome::index_only], counts[outcome::harmless], counts[outcome::refused]);
}

TEST(corruption, every_bit_of_one_entry_is_covered) {
  const fast_scratch dir;
  const auto files = closed_image(dir.path(), 60);
  const auto original = all_events(dir.path());
  const auto& good = files.at("journal.db");
  const auto& e = original[30];
  for (const auto& field : {e.text, e.body, std::string(reinterpret_cast<const char*>(e.hash.bytes.data()), 32)}) {
    const auto at = good.find(field);
    ASSERT_NE(at, std::string::npos);
    for (std::size_t i = at; i < at + field.size(); ++i)
      for (unsigned bit = 0; bit < 8; ++bit) {
        auto damaged = files;
        damaged["journal.db"][i] = static_cast<char>(good[i] ^ static_cast<char>(1u << bit));
        restore(dir.path(), damaged);
        const auto verdict = verify_journal(dir.path());
        ASSERT_TRUE(verdict);
        ASSERT_FALSE(verdict->intact);
        ASSERT_EQ(verdict->first_bad, e.seq) << verdict->reason;
        ASSERT_NE(verdict->reason.find(seq_name(e.seq)), std::string::npos);
      }
  }
}

TEST(corruption, a_bit_flipped_in_the_log_never_drops_an_acknowledged_call_in_silence) {
  const fast_scratch dir;
  const auto files = killed_image(dir.path(), 120);
  const auto original = all_events(dir.path());
  ASSERT_EQ(original.size(), 120u);
  const auto& good = files.at("journal.db-wal");
  std::map<outcome, int> counts;
  random_source random{7};
  manual_clock clock;
  const auto flip = [&](std::size_t byte, unsigned mask) {
    auto damaged = files;
    damaged["journal.db-wal"][byte] = static_cast<char>(good[byte] ^ static_cast<char>(mask));
    restore(dir.path(), damaged);
    outcome what{};
    ASSERT_EQ(check(dir.path(), original, what), "") << "byte " << byte << " mask " << mask;
    ++counts[what];
    if (what == outcome::shorter) {
      // Only the very last call may be missing: damaged there, it looks like a write that was cut short by a crash.
      bool ended_well = false;
      ASSERT_EQ(readable(dir.path(), ended_well).size(), original.size() - per_call) << "byte " << byte;
    }
    if (what == outcome::named) {
      restore(dir.path(), damaged);
      ASSERT_EQ(journal::open(dir.path(), clock).error().code, errc::journal_damaged);
      ASSERT_EQ(slurp(dir / "journal.db-wal"), damaged["journal.db-wal"]); // the evidence is still there
    }
  };
  for (std::size_t i = 0; i < 32; ++i)
    for (unsigned bit = exhaustive() ? 0 : static_cast<unsigned>(i % 4); bit < 8; bit += exhaustive() ? 1 : 4)
      ASSERT_NO_FATAL_FAILURE(flip(i, 1u << bit));
  // The headers of all frames near the end, where the last calls meet, and of some before.
  constexpr std::size_t frame_bytes = 4096 + 24;
  const std::size_t frames = (good.size() - 32) / frame_bytes;
  for (std::size_t f = 0; f < frames; f += f + 16 < frames && !exhaustive() ? 16 : 1)
    for (std::size_t i = 32 + f * frame_bytes; i < 32 + f * frame_bytes + 24; ++i)
      ASSERT_NO_FATAL_FAILURE(flip(i, 1u << random.below(8)));
  for (int i = 0; i < (exhaustive() ? 10'000 : 200); ++i)
    ASSERT_NO_FATAL_FAILURE(flip(random.below(good.size()), 1u << random.below(8)));
  EXPECT_GT(counts[outcome::named], 100);
  std::printf("flips in the log: %d named, %d in the last call, %d harmless\n", counts[outcome::named],
              counts[outcome::shorter], counts[outcome::harmless]);
}

TEST(corruption, every_bit_of_the_mark_is_covered_and_a_damaged_mark_costs_only_time) {
  const fast_scratch dir;
  const auto files = closed_image(dir.path(), 30);
  const auto& good = files.at("journal.mark");
  manual_clock clock;
  for (std::size_t i = 0; i < good.size(); ++i)
    for (unsigned bit = 0; bit < 8; ++bit) {
      auto altered = good;
      altered[i] = static_cast<char>(altered[i] ^ static_cast<char>(1u << bit));
      ASSERT_FALSE(mark_from_text(altered)) << i;
    }
  auto damaged = files;
  damaged["journal.mark"][30] ^= 1;
  restore(dir.path(), damaged);
  EXPECT_EQ((*journal::open(dir.path(), clock))->last_seq(), 30u);
  EXPECT_EQ(slurp(dir / "journal.mark"), good); // written anew
}

namespace {

struct trick {
  const char* name;
  std::string sql;
  std::uint64_t first_bad;
};

/// The hash that entry `e` would have with another body: what a tamperer who knows the format can compute.
std::string forged_hash(const std::vector<event>& events, std::uint64_t seq, const std::string& body) {
  event e = events[seq - 1];
  e.body = body;
  return rehash(seq > 1 ? events[seq - 2].hash : digest{}, e).hex();
}

} // namespace

TEST(corruption, a_tamperer_with_sql_is_named) {
  const fast_scratch dir;
  const auto files = closed_image(dir.path(), 40);
  const auto original = all_events(dir.path());
  const std::vector<trick> tricks{
      {"remove one in the middle", "DELETE FROM event WHERE seq=20", 20},
      {"remove the first", "DELETE FROM event WHERE seq=1", 1},
      {"remove the last", "DELETE FROM event WHERE seq=40", 40},
      {"remove all", "DELETE FROM event", 1},
      {"remove and close the gap", "DELETE FROM event WHERE seq=20; UPDATE event SET seq=seq-1 WHERE seq>20", 20},
      {"swap two", "UPDATE event SET seq=-1 WHERE seq=20; UPDATE event SET seq=20 WHERE seq=21;"
                   "UPDATE event SET seq=21 WHERE seq=-1", 20},
      {"edit a body", "UPDATE event SET body='{}' WHERE seq=20", 20},
      {"edit a body and its hash, not the chain",
       "UPDATE event SET body='{}', hash=x'" + forged_hash(original, 20, "{}") + "' WHERE seq=20", 21},
      {"edit the last body and its hash",
       "UPDATE event SET body='{}', hash=x'" + forged_hash(original, 40, "{}") + "' WHERE seq=40", 40},
      {"backdate", "UPDATE event SET time=time-1 WHERE seq=20", 20},
      {"raise the epoch", "UPDATE event SET epoch=9 WHERE seq=20", 20},
      {"change the kind", "UPDATE event SET kind='goal_state' WHERE seq=20", 20},
      {"invent a kind", "UPDATE event SET kind='nonsense' WHERE seq=20", 20},
      {"move text between columns", "UPDATE event SET goal=goal||'x', actor=substr(actor,2) WHERE seq=20", 20},
      {"cut a hash", "UPDATE event SET hash=substr(hash,1,31) WHERE seq=20", 20},
      {"slip one in before all", "INSERT INTO event SELECT -5,time,epoch,kind,goal,step,subject,key,actor,text,body,hash "
                                 "FROM event WHERE seq=1", 1},
      {"slip one in at zero", "INSERT INTO event SELECT 0,time,epoch,kind,goal,step,subject,key,actor,text,body,hash "
                              "FROM event WHERE seq=1", 1},
      {"add one at the end", "INSERT INTO event SELECT 41,time,epoch,kind,goal,step,subject,key,actor,text,body,hash "
                             "FROM event WHERE seq=40", 41},
      {"add one far away", "INSERT INTO event SELECT 99,time,epoch,kind,goal,step,subject,key,actor,text,body,hash "
                           "FROM event WHERE seq=40", 41},
      {"drop an index", "DROP INDEX event_goal", 1},
      {"another index", "DROP INDEX event_goal; CREATE INDEX event_goal ON event(step)", 1},
      {"a trigger", "CREATE TRIGGER t AFTER INSERT ON event BEGIN SELECT 1; END", 1},
      {"another table", "CREATE TABLE more(x)", 1},
      {"another identity", "PRAGMA application_id=1", 1},
      {"no format", "PRAGMA user_version=0", 1},
      {"no write-ahead log", "PRAGMA journal_mode=DELETE", 1},
  };
  manual_clock clock;
  for (const auto& t : tricks) {
    restore(dir.path(), files);
    ASSERT_NO_FATAL_FAILURE(tamper(dir.path(), t.sql)) << t.name;
    const auto verdict = verify_journal(dir.path());
    ASSERT_TRUE(verdict) << t.name << ": " << verdict.error().to_string();
    EXPECT_FALSE(verdict->intact) << t.name;
    EXPECT_EQ(verdict->first_bad, t.first_bad) << t.name << ": " << verdict->reason;
    EXPECT_NE(verdict->reason.find(seq_name(t.first_bad)), std::string::npos) << t.name << ": " << verdict->reason;
    bool ended_well = true;
    const auto read = readable(dir.path(), ended_well);
    EXPECT_LE(read.size(), 40u) << t.name;
    for (std::size_t i = 0; i < read.size() && i + 1 < t.first_bad && i + 2 < t.first_bad; ++i)
      EXPECT_TRUE(same(read[i], original[i])) << t.name << " " << i;
    const auto j = journal::open(dir.path(), clock);
    ASSERT_FALSE(j) << t.name;
    EXPECT_EQ(j.error().code, errc::journal_damaged) << t.name << ": " << j.error().to_string();
  }
}

TEST(corruption, a_whole_chain_forged_anew_is_noticed_by_the_mark) {
  const fast_scratch dir;
  const fast_scratch forged;
  const auto files = closed_image(dir.path(), 20);
  manual_clock other;
  other.advance(nanoseconds{1});
  write_events(forged.path(), 20, other);
  restore(dir.path(), {{"journal.db", slurp(forged / "journal.db")}, {"journal.mark", files.at("journal.mark")}});
  const auto verdict = verify_journal(dir.path());
  ASSERT_TRUE(verdict);
  EXPECT_FALSE(verdict->intact);
  EXPECT_EQ(verdict->first_bad, 20u) << verdict->reason;
  EXPECT_EQ(journal::open(dir.path(), other).error().code, errc::journal_damaged);
}

TEST(corruption, a_journal_of_the_future_is_refused_and_left_alone) {
  const fast_scratch dir;
  const auto files = closed_image(dir.path(), 20);
  tamper(dir.path(), "PRAGMA user_version=2");
  manual_clock clock;
  EXPECT_EQ(journal::open(dir.path(), clock).error().code, errc::incompatible_version);
  EXPECT_EQ(journal_reader::open(dir.path()).error().code, errc::incompatible_version);
  EXPECT_EQ(verify_journal(dir.path()).error().code, errc::incompatible_version);
}

TEST(repair, keeps_the_verified_entries_and_sets_everything_else_aside) {
  const fast_scratch dir;
  const auto files = closed_image(dir.path(), 60);
  const auto original = all_events(dir.path());
  tamper(dir.path(), "UPDATE event SET body='{}' WHERE seq=41");
  const auto damaged = slurp(dir / "journal.db");
  manual_clock clock;
  ASSERT_FALSE(journal::open(dir.path(), clock));
  const auto repaired = repair_journal(dir.path(), UINT64_MAX);
  ASSERT_TRUE(repaired) << repaired.error().to_string();
  EXPECT_EQ(repaired->kept, 40u);
  EXPECT_EQ(repaired->head, original[39].hash);
  EXPECT_EQ(slurp(repaired->moved_to / "journal.db"), damaged);
  EXPECT_EQ(slurp(repaired->moved_to / "journal.mark"), files.at("journal.mark"));
  const auto verdict = verify_journal(dir.path());
  EXPECT_TRUE(verdict->intact) << verdict->reason;
  EXPECT_TRUE(is_prefix(all_events(dir.path()), original));
  {
    auto j = journal::open(dir.path(), clock);
    ASSERT_TRUE(j) << j.error().to_string();
    EXPECT_EQ(*(*j)->append(draft(3)), 41u);
  }
  // Once more, fewer than could be kept; nothing that was set aside is overwritten.
  const auto again = repair_journal(dir.path(), 5);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->kept, 5u);
  EXPECT_NE(again->moved_to, repaired->moved_to);
  EXPECT_EQ(slurp(repaired->moved_to / "journal.db"), damaged);
  EXPECT_EQ((*journal::open(dir.path(), clock))->last_seq(), 5u);
}

TEST(repair, a_log_is_not_replayed_into_the_repaired_database) {
  const fast_scratch dir;
  auto files = killed_image(dir.path(), 100);
  const auto original = all_events(dir.path());
  restore(dir.path(), files);
  auto repaired = repair_journal(dir.path(), 33);
  ASSERT_TRUE(repaired) << repaired.error().to_string();
  EXPECT_EQ(repaired->kept, 33u);
  EXPECT_EQ(slurp(repaired->moved_to / "journal.db-wal"), files["journal.db-wal"]);
  EXPECT_TRUE(verify_journal(dir.path())->intact);
  EXPECT_EQ(all_events(dir.path()).size(), 33u);

  files["journal.db-wal"][files["journal.db-wal"].size() / 2] ^= 4;
  restore(dir.path(), files);
  repaired = repair_journal(dir.path(), UINT64_MAX);
  ASSERT_TRUE(repaired);
  EXPECT_LT(repaired->kept, 100u);
  EXPECT_GT(repaired->kept, 0u);
  EXPECT_TRUE(verify_journal(dir.path())->intact);
  EXPECT_TRUE(is_prefix(all_events(dir.path()), original));
}

TEST(repair, builds_a_damaged_index_anew_and_keeps_all_entries) {
  const fast_scratch dir;
  auto files = closed_image(dir.path(), 120);
  const auto original = all_events(dir.path());
  auto& db = files["journal.db"];
  auto at = db.find("key-65");
  if (db.compare(at + 6, 3, "hpo") == 0) // that is the entry itself, with its actor behind the key
    at = db.find("key-65", at + 1);
  ASSERT_NE(at, std::string::npos);
  db[at] ^= 1;
  restore(dir.path(), files);
  const auto verdict = verify_journal(dir.path());
  ASSERT_TRUE(verdict);
  ASSERT_FALSE(verdict->intact);
  ASSERT_EQ(verdict->first_bad, 0u) << verdict->reason;
  EXPECT_NE(verdict->reason.find("event_key"), std::string::npos) << verdict->reason;
  ASSERT_TRUE(repair_journal(dir.path(), UINT64_MAX));
  EXPECT_TRUE(verify_journal(dir.path())->intact);
  EXPECT_TRUE(same(all_events(dir.path()), original));
  EXPECT_TRUE(searches_agree(dir.path(), original));
}

TEST(repair, nothing_readable_leaves_an_empty_journal_and_the_evidence) {
  const fast_scratch dir;
  auto files = closed_image(dir.path(), 30);
  files["journal.db"] = std::string(10'000, 'x');
  restore(dir.path(), files);
  const auto repaired = repair_journal(dir.path(), UINT64_MAX);
  ASSERT_TRUE(repaired) << repaired.error().to_string();
  EXPECT_EQ(repaired->kept, 0u);
  EXPECT_EQ(slurp(repaired->moved_to / "journal.db"), files["journal.db"]);
  manual_clock clock;
  EXPECT_EQ((*journal::open(dir.path(), clock))->last_seq(), 0u);
}
