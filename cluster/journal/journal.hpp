#pragma once
// The one append-only, hash-chained event log: SQLite, WAL, synchronous=FULL, group commit.

#include "cluster/journal/event_log.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

namespace flywheel {

struct journal_options {
  std::size_t batch_events_max = 4096;      ///< events per transaction; bounds the memory and the latency of one commit
  std::size_t queue_bytes_max = 64u << 20;  ///< callers block beyond it: back-pressure instead of unbounded memory
  std::uint64_t mark_entries = 1u << 16;    ///< entries between two marks; bounds what open() verifies after a kill
  int checkpoint_pages = 4096;              ///< log pages (4 KiB) at which the log is copied into the database: often
                                            ///< enough for a quick recovery, seldom enough to cost appenders little
};

/// What `flywheel journal verify` found.
struct journal_verdict {
  bool intact = false;
  std::uint64_t events = 0;      ///< verified entries, from the first on
  std::uint64_t first_bad = 0;   ///< seq of the first entry that is missing or does not fit the chain; 0 if there is
                                 ///< none: intact, or only the search index around good entries is damaged
  std::string reason;            ///< a sentence: which entry, what is wrong, what to do
  digest head;                   ///< hash of the last good entry
};

/// The writer. Exactly one per state directory; state_directory's lock guarantees it, and open() checks it again.
/// append and append_async may be called from any thread; several callers share one fsync.
class journal : public event_log {
public:
  /// Opens or creates `folder`/journal.db, checks the chain's tail, and starts the committing thread.
  /// Errors: journal_damaged (with the first bad entry and what to do), state_locked, disk_full, permission_denied.
  static result<std::unique_ptr<journal>> open(const std::filesystem::path& folder, const time_source& time,
                                               journal_options options = {});
  ~journal() override; ///< commits what is queued, then closes

  using event_log::append;
  /// After disk_full or io_failed nothing of the batch is in the journal and the journal stays usable.
  /// too_large: one draft exceeds limits::journal_event_bytes_max. An empty body is stored as "{}".
  result<std::uint64_t> append(std::vector<event_draft> drafts) override;
  /// `done` is called from the committing thread.
  void append_async(std::vector<event_draft> drafts, std::function<void(result<std::uint64_t>)> done) override;
  /// Through a journal_reader of its own.
  result<std::vector<event>> read(const journal_filter& filter) const override;
  status visit(const journal_filter& filter, const std::function<bool(const event&)>& one) const override;

  /// Called after each commit from the committing thread with the new events, in order, and before append returns: a
  /// projection that is kept this way knows an event as soon as its writer goes on. One listener at a time; once
  /// listen() returns, the listener before is not running any more. It must not throw, nor call append or listen.
  void listen(std::function<void(const std::vector<event>&)> listener);

  std::uint64_t last_seq() const noexcept override;
  digest head() const;

private:
  journal();
  struct impl;
  std::unique_ptr<impl> impl_;
};

/// A reader; works beside the writer, also from another process, and on a damaged journal as far as it goes.
/// Each call sees a consistent snapshot. Use one per thread. Every event handed out was checked against its hash and
/// the hash of the entry before it (I10); the first that does not fit ends the call with journal_damaged.
class journal_reader {
public:
  /// not_found if there is no journal in `folder`.
  static result<journal_reader> open(const std::filesystem::path& folder);
  /// Calls `visit` in seq order (or newest first) until it returns false.
  status read(const journal_filter& filter, const std::function<bool(const event&)>& visit) const;
  result<std::vector<event>> read(const journal_filter& filter) const;
  result<std::uint64_t> last_seq() const;

  journal_reader(journal_reader&&) noexcept;
  journal_reader& operator=(journal_reader&&) noexcept;
  ~journal_reader();

private:
  journal_reader();
  struct impl;
  std::unique_ptr<impl> impl_;
};

/// Walks the whole chain, and compares the search index and the file's structure with it. Errors only if there is no
/// journal or it may not be read; damage is a verdict. Works beside a writer.
result<journal_verdict> verify_journal(const std::filesystem::path& folder);

struct journal_repair {
  std::uint64_t kept = 0;            ///< entries in the journal now
  digest head;                       ///< hash of the last one
  std::filesystem::path moved_to;    ///< where the old files lie
};

/// The deliberate way out of journal_damaged: moves the files aside into `folder`/damaged-<n> (never deletes them) and
/// writes a new journal of the verified entries 1..keep_up_to_seq, fewer if fewer can be verified. Everything later is
/// out of the journal, so that what it recorded may be done again: for people only, no code calls it on its own.
/// state_locked while a writer lives.
result<journal_repair> repair_journal(const std::filesystem::path& folder, std::uint64_t keep_up_to_seq);

} // namespace flywheel
