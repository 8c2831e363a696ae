#pragma once
// What the journal's tests share: events to write, files to copy, a fast scratch folder.

#include "cluster/journal/journal.hpp"
#include "tests/cluster/content/scratch.hpp"

#include <sqlite3.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace flywheel::testing {

inline event_draft draft(int n) {
  event_draft d;
  d.kind = n % 3 == 0 ? event_kind::decision : n % 3 == 1 ? event_kind::trial_state : event_kind::note;
  d.goal = "g-" + std::to_string(n % 4);
  d.step = n % 2 ? "search" : "";
  d.subject = n % 3 == 1 ? "t-" + std::to_string(n / 3) : "";
  d.key = n % 5 == 0 ? "key-" + std::to_string(n) : "";
  d.actor = "hpo";
  d.text = "trial " + std::to_string(n) + " looks good";
  d.body = "{\"n\":" + std::to_string(n) + "}";
  d.epoch = 7;
  return d;
}

inline bool same(const event& a, const event& b) {
  return a.seq == b.seq && a.time == b.time && a.hash == b.hash && a.kind == b.kind && a.goal == b.goal &&
         a.step == b.step && a.subject == b.subject && a.key == b.key && a.actor == b.actor && a.text == b.text &&
         a.body == b.body && a.epoch == b.epoch;
}
inline bool same(const std::vector<event>& a, const std::vector<event>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const event& x, const event& y) { return same(x, y); });
}

/// Memory-backed if the machine has that: tests that open a journal thousands of times need no disk.
class fast_scratch {
public:
  fast_scratch() {
    std::string pattern = (::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path().string());
    pattern += "/flywheel-test-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr)
      std::abort();
    path_ = pattern;
  }
  ~fast_scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  fast_scratch(const fast_scratch&) = delete;
  fast_scratch& operator=(const fast_scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

private:
  std::filesystem::path path_;
};

/// Runs SQL on journal.db behind the journal's back, as a tamperer would.
inline void tamper(const std::filesystem::path& folder, const std::string& sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((folder / "journal.db").c_str(), &db), SQLITE_OK);
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &message), SQLITE_OK) << (message ? message : "");
  sqlite3_free(message);
  sqlite3_close(db);
}

/// `n` events in `folder`, the journal closed again.
inline void write_events(const std::filesystem::path& folder, int n, const time_source& time, int per_call = 10) {
  auto j = journal::open(folder, time);
  ASSERT_TRUE(j) << j.error().to_string();
  for (int i = 0; i < n;) {
    std::vector<event_draft> drafts;
    for (int k = 0; k < per_call && i < n; ++k, ++i)
      drafts.push_back(draft(i));
    const auto seq = (*j)->append(std::move(drafts));
    ASSERT_TRUE(seq) << seq.error().to_string();
    ASSERT_EQ(*seq, static_cast<std::uint64_t>(i));
  }
}

inline std::vector<event> all_events(const std::filesystem::path& folder) {
  const auto reader = journal_reader::open(folder);
  EXPECT_TRUE(reader) << reader.error().to_string();
  auto events = reader ? reader->read(journal_filter{}) : result<std::vector<event>>{std::vector<event>{}};
  EXPECT_TRUE(events) << events.error().to_string();
  return events ? *events : std::vector<event>{};
}

} // namespace flywheel::testing
