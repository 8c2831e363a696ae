#include "cluster/content/publish.hpp"
#include "cluster/journal/chain_walker.hpp"
#include "cluster/journal/file_lock.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/journal_store.hpp"
#include "cluster/journal/mark_format.hpp"

#include <sqlite3.h>

#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// Copies the good entries up to `last` from the journal in `folder`; none if it cannot be read at all.
status copy_good(const fs::path& folder, const fs::path& to, std::uint64_t last, store::tail& copied) {
  FLYWHEEL_CHECK(store::create(to));
  FLYWHEEL_TRY(const auto target, store::open_writer(to));
  const auto source = store::check_files(folder) ? store::open_reader(folder / store::database_name)
                                                 : result<store::database>{errc::not_found, "no journal"};
  if (!source)
    return source.error().klass() == error_class::damaged || source.error().code == errc::not_found
               ? success() : status{source.error()};
  const auto rows = store::prepare(source->get(), "SELECT " + std::string{store::columns} +
                                                      " FROM event e NOT INDEXED ORDER BY seq");
  if (!rows)
    return success();
  FLYWHEEL_TRY(const auto insert, store::prepare(target.get(), std::string{store::insert_sql}));
  FLYWHEEL_CHECK(store::run(target.get(), "BEGIN IMMEDIATE"));
  chain_walker walker;
  while (walker.good().seq < last && sqlite3_step(rows->get()) == SQLITE_ROW) {
    const auto r = store::read_row(rows->get());
    if (!walker.next(r).empty())
      break;
    FLYWHEEL_CHECK(store::insert(target.get(), insert.get(), r.entry, r.hash));
  }
  FLYWHEEL_CHECK(store::run(target.get(), "COMMIT"));
  copied = walker.good();
  return store::run(target.get(), "PRAGMA wal_checkpoint(TRUNCATE)");
}

/// A new folder for what is set aside: damaged-1, damaged-2, ...
result<fs::path> new_folder(const fs::path& folder) {
  for (int n = 1;; ++n) {
    const auto path = folder / ("damaged-" + std::to_string(n));
    if (::mkdir(path.c_str(), 0700) == 0)
      return path;
    if (errno != EEXIST)
      return error_from_errno(errno, "create folder " + path.string());
  }
}

/// A second name for the same file, so that at no moment it has none.
status keep_aside(const fs::path& file, const fs::path& aside) {
  if (::link(file.c_str(), (aside / file.filename()).c_str()) != 0 && errno != ENOENT)
    return error_from_errno(errno, "set " + file.string() + " aside");
  return success();
}

status remove_if_there(const fs::path& file) {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT)
    return error_from_errno(errno, "remove " + file.string());
  return success();
}

} // namespace

result<journal_repair> repair_journal(const fs::path& folder, std::uint64_t keep_up_to_seq) {
  FLYWHEEL_TRY(const auto lock, file_lock::acquire(folder / "journal.lock", folder / store::database_name));
  if (const auto files = store::check_files(folder); !files && files.error().code == errc::not_found)
    return files.error();
  const auto path = folder / store::database_name;
  const auto log = folder / store::log_name;

  journal_repair done;
  const auto outcome = publish_with(path, [&](const fs::path& temporary) -> status {
    store::tail copied;
    FLYWHEEL_CHECK(copy_good(folder, temporary, keep_up_to_seq, copied));
    done.kept = copied.seq;
    done.head = copied.hash;
    FLYWHEEL_TRY(done.moved_to, new_folder(folder));
    for (const auto& file : {path, log, folder / "journal.mark"})
      FLYWHEEL_CHECK(keep_aside(file, done.moved_to));
    FLYWHEEL_CHECK(sync_folder(done.moved_to));
    FLYWHEEL_CHECK(sync_folder(folder));
    // The mark goes down before the database changes: killed in between, the old files are met again and repaired again.
    FLYWHEEL_CHECK(write_mark(folder, {copied.seq, copied.hash}));
    // The old log must be gone before the new database appears, or SQLite would replay it into that.
    FLYWHEEL_CHECK(remove_if_there(log));
    FLYWHEEL_CHECK(remove_if_there(path.string() + "-shm"));
    return sync_folder(folder);
  });
  FLYWHEEL_CHECK(outcome);
  return done;
}

} // namespace flywheel
