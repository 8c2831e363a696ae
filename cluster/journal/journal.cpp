#include "cluster/journal/journal.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/chain_walker.hpp"
#include "cluster/journal/file_lock.hpp"
#include "cluster/journal/journal_examine.hpp"
#include "cluster/journal/journal_store.hpp"
#include "cluster/journal/log_format.hpp"
#include "cluster/journal/mark_format.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <thread>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// One transaction's texts; a bigger one makes everybody in it wait. A single call may exceed it, for it is atomic.
constexpr std::size_t batch_bytes_max = 8 * limits::mib;
/// The mark is renewed after so much time with new entries, too.
constexpr std::chrono::nanoseconds mark_interval = std::chrono::seconds{5};
/// Entries before the mark that open() verifies again: the tail is where a crash or a full disk does its damage.
constexpr std::uint64_t tail_entries = 1024;

constexpr const char* verify_hint = "run 'flywheel journal verify', then restore the folder from a backup or keep the "
                                    "good entries with 'flywheel journal repair'";

std::size_t bytes_of(const event_draft& d) {
  return d.goal.size() + d.step.size() + d.subject.size() + d.key.size() + d.actor.size() + d.text.size() +
         d.body.size();
}

/// What one caller wants appended.
struct request {
  std::vector<event_draft> drafts;
  std::size_t bytes = 0;
  std::function<void(result<std::uint64_t>)> done;
};

/// Damage was met on opening: says where, by walking the whole chain.
error damage_of(const fs::path& folder, error met) {
  const auto verdict = examine_journal(folder, [] { return true; }); // we hold the lock
  if (!verdict || verdict->intact)
    return met;
  return error{errc::journal_damaged, verdict->reason, (folder / store::database_name).string(), verify_hint};
}

/// The last entry, once everything from the mark on has been verified.
result<store::tail> verify_tail(sqlite3* db, const std::optional<journal_mark>& mark) {
  FLYWHEEL_TRY(const auto snapshot, store::snapshot::begin(db));
  FLYWHEEL_TRY(const auto s, store::prepare(db, "SELECT " + std::string{store::columns} +
                                                    " FROM event e WHERE seq>=?1 ORDER BY seq"));
  const auto from = mark && mark->seq > tail_entries ? mark->seq - tail_entries : 0;
  // From the very first: an entry slipped in before 1 must be met too.
  sqlite3_bind_int64(s.get(), 1, from > 0 ? static_cast<sqlite3_int64>(from) : std::numeric_limits<sqlite3_int64>::min());
  const auto bad = [](std::string what) { return error{errc::journal_damaged, std::move(what), {}, verify_hint}; };

  int code = sqlite3_step(s.get());
  store::tail start;
  if (from > 0 && code == SQLITE_ROW) {
    const auto r = store::read_row(s.get());
    start = {r.entry.seq, r.hash}; // vouched for by the entries after it, up to the mark
    if (!r.well_formed || r.entry.seq != from)
      return bad("entry " + std::to_string(from) + " is missing");
    code = sqlite3_step(s.get());
  }
  chain_walker walker{start};
  for (; code == SQLITE_ROW; code = sqlite3_step(s.get())) {
    if (auto problem = walker.next(store::read_row(s.get())); !problem.empty())
      return bad(std::move(problem));
    if (mark && walker.good().seq == mark->seq && walker.good().hash != mark->hash)
      return bad("entry " + std::to_string(mark->seq) + " is not the one that was once verified");
  }
  if (code != SQLITE_DONE)
    return store::failure(db, code, "read entry " + std::to_string(walker.first_bad()));
  if (mark && walker.good().seq < mark->seq)
    return bad("entry " + std::to_string(walker.first_bad()) + " is missing: entries up to " +
               std::to_string(mark->seq) + " were known to be written");
  return walker.good();
}

} // namespace

struct journal::impl {
  const time_source& time;
  journal_options options;
  fs::path folder;
  file_lock lock;
  store::database db;
  store::statement insert;

  // Only the committing thread touches these after start().
  store::tail tail;
  chain_hasher hasher;
  int log_frames = 0;
  bool log_uncertain = false;      ///< a commit failed after bytes of it may have reached the log
  std::uint64_t marked_seq = 0;
  mono_time marked_at{};
  mono_time committed_at{};        ///< read before callers are answered: what they then do to the clock is theirs

  std::mutex mutex;
  std::condition_variable work;    ///< something is queued, or it is time to end
  std::condition_variable room;    ///< the queue got shorter
  std::deque<request> queue;
  std::size_t queued_bytes = 0;
  bool stopping = false;
  digest head;

  std::mutex listener_mutex;
  std::function<void(const std::vector<event>&)> listener;

  std::atomic<std::uint64_t> last_seq{0};
  std::thread thread;

  impl(const time_source& t, journal_options o, fs::path f, file_lock l, store::database d, store::statement s)
      : time(t), options(o), folder(std::move(f)), lock(std::move(l)), db(std::move(d)), insert(std::move(s)) {}

  void start(const store::tail& at) {
    tail = at;
    head = at.hash;
    last_seq = at.seq;
    marked_seq = at.seq;
    marked_at = time.mono();
    sqlite3_wal_hook(
        db.get(),
        [](void* self, sqlite3*, const char*, int frames) {
          static_cast<impl*>(self)->log_frames = frames;
          return SQLITE_OK;
        },
        this);
    thread = std::thread{[this] { serve(); }};
  }

  void stop() {
    {
      const std::lock_guard guard{mutex};
      stopping = true;
    }
    work.notify_one();
    thread.join();
    if (tail.seq > marked_seq)
      (void)write_mark(folder, {tail.seq, tail.hash}); // without it the next open() verifies more
  }

  void submit(request r) {
    FLYWHEEL_ASSERT(std::this_thread::get_id() != thread.get_id(), "callbacks of the journal do not append to it");
    {
      std::unique_lock guard{mutex};
      FLYWHEEL_ASSERT(!stopping, "nobody appends to a journal that is being closed");
      // A call bigger than the whole queue is let in when it is alone.
      room.wait(guard, [&] { return queue.empty() || queued_bytes + r.bytes <= options.queue_bytes_max; });
      queued_bytes += r.bytes;
      queue.push_back(std::move(r));
    }
    work.notify_one();
  }

  void serve() {
    std::vector<request> batch;
    for (;;) {
      std::size_t batch_bytes = 0;
      {
        std::unique_lock guard{mutex};
        work.wait(guard, [&] { return stopping || !queue.empty(); });
        if (queue.empty())
          return;
        std::size_t events = 0;
        do {
          events += queue.front().drafts.size();
          batch_bytes += queue.front().bytes;
          batch.push_back(std::move(queue.front()));
          queue.pop_front();
        } while (!queue.empty() && events + queue.front().drafts.size() <= options.batch_events_max &&
                 batch_bytes + queue.front().bytes <= batch_bytes_max);
      }
      serve(batch);
      batch.clear();
      {
        const std::lock_guard guard{mutex};
        queued_bytes -= batch_bytes;
      }
      room.notify_all();
      keep_house();
    }
  }

  void serve(std::vector<request>& batch) {
    std::vector<event> events;
    const auto outcome = commit(batch, events);
    if (outcome) {
      {
        const std::lock_guard guard{mutex};
        head = tail.hash;
      }
      last_seq = tail.seq;
      const std::lock_guard guard{listener_mutex};
      if (listener)
        listener(events);
    }
    std::uint64_t seq = tail.seq - (outcome ? events.size() : 0);
    for (auto& r : batch) {
      seq += outcome ? r.drafts.size() : 0;
      r.done(outcome ? result<std::uint64_t>{seq} : result<std::uint64_t>{outcome.error()});
    }
  }

  status commit(std::vector<request>& batch, std::vector<event>& events) {
    if (log_uncertain)
      FLYWHEEL_CHECK(settle_log());
    const auto before = tail;
    auto outcome = insert_all(batch, events);
    const bool committing = outcome.ok();
    if (committing)
      outcome = store::run(db.get(), "COMMIT");
    if (!outcome) {
      // A write that failed cannot have been the commit's last frame; an fsync that failed may have.
      const int code = sqlite3_extended_errcode(db.get());
      log_uncertain = committing && code != SQLITE_FULL && code != SQLITE_IOERR_WRITE;
      if (sqlite3_get_autocommit(db.get()) == 0)
        sqlite3_exec(db.get(), "ROLLBACK", nullptr, nullptr, nullptr);
      tail = before;
      if (log_uncertain)
        (void)settle_log(); // else before the next commit
    }
    return outcome;
  }

  status insert_all(std::vector<request>& batch, std::vector<event>& events) {
    FLYWHEEL_CHECK(store::run(db.get(), "BEGIN IMMEDIATE"));
    const auto now = time.wall();
    committed_at = time.mono();
    for (auto& r : batch)
      for (auto& draft : r.drafts) {
        event& e = events.emplace_back();
        static_cast<event_draft&>(e) = std::move(draft);
        if (e.body.empty())
          e.body = "{}";
        e.seq = tail.seq + 1;
        e.time = now;
        const auto entry = chain_entry_of(e);
        e.hash = hasher.hash(tail.hash, entry);
        FLYWHEEL_CHECK(store::insert(db.get(), insert.get(), entry, e.hash));
        tail = {e.seq, e.hash};
      }
    return success();
  }

  /// A commit whose fsync failed may still lie in the log, complete: after a crash it would come back although its
  /// callers were told that it failed. Emptying the log takes it away for good.
  status settle_log() {
    FLYWHEEL_CHECK(store::run(db.get(), "PRAGMA wal_checkpoint(TRUNCATE)"));
    FLYWHEEL_TRY(const auto stored, store::read_tail(db.get()));
    if (stored.seq != tail.seq || stored.hash != tail.hash)
      return error{errc::internal, "the journal ends at entry " + std::to_string(stored.seq) + " instead of " +
                                       std::to_string(tail.seq) + " after a failed write", {}, "restart Flywheel"};
    log_uncertain = false;
    return success();
  }

  /// After the callers have their answers, so that it delays none that waits already.
  void keep_house() {
    if (log_frames >= options.checkpoint_pages) {
      // Failing (a full disk, a reader that needs the old log) costs log space only; it is tried again later.
      sqlite3_wal_checkpoint_v2(db.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
      log_frames = 0;
    }
    if (tail.seq - marked_seq >= options.mark_entries ||
        (tail.seq > marked_seq && committed_at - marked_at >= mark_interval)) {
      (void)write_mark(folder, {tail.seq, tail.hash});
      marked_seq = tail.seq;
      marked_at = committed_at;
    }
  }
};

journal::journal() = default;

journal::~journal() {
  if (impl_)
    impl_->stop();
}

result<std::unique_ptr<journal>> journal::open(const fs::path& folder, const time_source& time,
                                               journal_options options) {
  FLYWHEEL_TRY(auto lock, file_lock::acquire(folder / "journal.lock", folder / store::database_name));
  if (const auto files = store::check_files(folder); !files) {
    if (files.error().code != errc::not_found)
      return files.error();
    FLYWHEEL_CHECK(publish_with(folder / store::database_name, store::create));
  }

  // Nobody writes these files now, for we hold the lock.
  for (auto& problem : {store::cut_short(folder), log_problem(folder / store::log_name)})
    if (!problem.empty())
      return damage_of(folder, error{errc::journal_damaged, problem, {}, verify_hint});
  const auto mark = read_mark(folder);
  auto db = store::open_writer(folder / store::database_name);
  if (!db)
    return db.error().code == errc::journal_damaged ? damage_of(folder, std::move(db).error()) : std::move(db).error();
  auto tail = verify_tail(db->get(), mark);
  if (!tail) {
    db->reset();
    return tail.error().code == errc::journal_damaged ? damage_of(folder, std::move(tail).error())
                                                      : std::move(tail).error();
  }
  // Before the first append is acknowledged: from now on a journal that vanishes or is emptied is noticed.
  if (!mark || mark->seq != tail->seq)
    FLYWHEEL_CHECK(write_mark(folder, {tail->seq, tail->hash}));

  FLYWHEEL_TRY(auto insert, store::prepare(db->get(), std::string{store::insert_sql}));
  std::unique_ptr<journal> j{new journal};
  j->impl_ = std::make_unique<impl>(time, options, folder, std::move(lock), std::move(*db), std::move(insert));
  j->impl_->start(*tail);
  return j;
}

void journal::append_async(std::vector<event_draft> drafts, std::function<void(result<std::uint64_t>)> done) {
  request r;
  r.done = std::move(done);
  for (const auto& d : drafts) {
    const auto bytes = bytes_of(d);
    if (bytes > limits::journal_event_bytes_max)
      return r.done(error{errc::too_large, "a journal entry of " + std::to_string(bytes) + " bytes; at most " +
                                               std::to_string(limits::journal_event_bytes_max) + " are taken"});
    r.bytes += bytes + sizeof d;
  }
  if (drafts.empty())
    return r.done(last_seq());
  r.drafts = std::move(drafts);
  impl_->submit(std::move(r));
}

result<std::uint64_t> journal::append(std::vector<event_draft> drafts) {
  // A condition variable of one's own: with a shared one every commit would wake all waiters to fight for one mutex.
  struct answer {
    std::mutex mutex;
    std::condition_variable arrived;
    std::optional<result<std::uint64_t>> seq;
  } a;
  append_async(std::move(drafts), [&a](result<std::uint64_t> seq) {
    const std::lock_guard guard{a.mutex}; // held while notifying: `a` ends as soon as the waiter sees the answer
    a.seq = std::move(seq);
    a.arrived.notify_one();
  });
  std::unique_lock guard{a.mutex};
  a.arrived.wait(guard, [&] { return a.seq.has_value(); });
  return std::move(*a.seq);
}

void journal::listen(std::function<void(const std::vector<event>&)> listener) {
  const std::lock_guard guard{impl_->listener_mutex};
  impl_->listener = std::move(listener);
}

result<std::vector<event>> journal::read(const journal_filter& filter) const {
  FLYWHEEL_TRY(const auto reader, journal_reader::open(impl_->folder));
  return reader.read(filter);
}

status journal::visit(const journal_filter& filter, const std::function<bool(const event&)>& one) const {
  FLYWHEEL_TRY(const auto reader, journal_reader::open(impl_->folder));
  return reader.read(filter, one);
}

std::uint64_t journal::last_seq() const noexcept { return impl_->last_seq; }

digest journal::head() const {
  const std::lock_guard guard{impl_->mutex};
  return impl_->head;
}

} // namespace flywheel
