#pragma once
// The only file that knows how the journal lies in SQLite: schema, opening modes, statements, translated errors.

#include "cluster/journal/chain_format.hpp"
#include "cluster/journal/journal.hpp"

#include <memory>
#include <span>
#include <string>

struct sqlite3;
struct sqlite3_stmt;

namespace flywheel::store {

inline constexpr std::string_view database_name = "journal.db";
inline constexpr std::string_view log_name = "journal.db-wal";

struct close_database { void operator()(sqlite3* db) const noexcept; };
struct finalize_statement { void operator()(sqlite3_stmt* s) const noexcept; };
using database = std::unique_ptr<sqlite3, close_database>;
using statement = std::unique_ptr<sqlite3_stmt, finalize_statement>;

/// SQLite's last failure on `db`, translated: disk_full, io_failed, journal_damaged, permission_denied, ...
error failure(sqlite3* db, int code, const std::string& what);
status run(sqlite3* db, const char* sql);
result<statement> prepare(sqlite3* db, const std::string& sql);
/// The first column of the first row as text or number; an error if there is no row.
result<std::string> one_text(sqlite3* db, const char* sql);
result<std::int64_t> one_number(sqlite3* db, const char* sql);

/// An empty journal at `path` (which does not exist), complete and closed.
status create(const std::filesystem::path& path);
/// For the writer: WAL, synchronous=FULL; fails as damaged if the file is anything but a journal of this version.
result<database> open_writer(const std::filesystem::path& path);
/// For readers: never writes into journal.db; tolerates a file that is shorter than it should be, so that what is left
/// can be read.
result<database> open_reader(const std::filesystem::path& path);
/// Whether the file's identity and definitions are exactly those of this version.
status check_schema(sqlite3* db);
/// The problems of the file's structure in SQLite's words; empty if there are none. Does not compare index and table.
result<std::string> structure_problem(sqlite3* db);

/// One row as it is stored: texts point into the statement until its next step.
struct row {
  chain_entry entry;
  digest hash;
  bool well_formed = false; ///< every column has its type and the hash its length
};

/// Steps through rows selected by `columns`.
inline constexpr std::string_view columns =
    "e.seq,e.time,e.epoch,e.kind,e.goal,e.step,e.subject,e.key,e.actor,e.text,e.body,e.hash";
row read_row(sqlite3_stmt* s);
/// incompatible_version if the kind is unknown to this version.
result<event> event_of(const row& r);

/// The insert of all columns; reused for every entry.
inline constexpr std::string_view insert_sql =
    "INSERT INTO event(seq,time,epoch,kind,goal,step,subject,key,actor,text,body,hash)"
    "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)";
status insert(sqlite3* db, sqlite3_stmt* s, const chain_entry& entry, const digest& hash);

/// An index and the text it orders. In each, entries with an empty text are left out.
struct text_index { const char* name; const char* column; chain_text text; };
std::span<const text_index> text_indexes();

/// What the last entry is; seq 0 for an empty journal.
struct tail { std::uint64_t seq = 0; digest hash; };
result<tail> read_tail(sqlite3* db);

/// Files that contradict each other before SQLite has looked: the database or its end is gone. SQLite must not see
/// them: it deletes the log of an empty database.
status check_files(const std::filesystem::path& folder);
/// Empty unless the database ends in the middle of a page with no log to complete it: SQLite would read zeros there.
std::string cut_short(const std::filesystem::path& folder);

/// A read transaction for the lifetime of the object: several statements see one snapshot. Nests.
class snapshot {
public:
  static result<snapshot> begin(sqlite3* db);
  snapshot(snapshot&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  snapshot& operator=(snapshot&&) = delete;
  ~snapshot();

private:
  explicit snapshot(sqlite3* db) : db_(db) {}
  sqlite3* db_;
};

} // namespace flywheel::store
