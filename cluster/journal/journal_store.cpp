#include "cluster/journal/journal_store.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/journal/mark_format.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace flywheel::store {
namespace {

namespace fs = std::filesystem;

// "FLYJ"; written into the header of the file, so that file(1) and we know what it is.
constexpr int application_id = 0x464c594a;
constexpr int format_version = 1;

struct definition {
  const char* type;
  const char* name;
  const char* sql;
};

// The schema, once. Indexes leave out empty texts: most entries have no key, and an index entry costs like a row.
constexpr std::array definitions{
    definition{"table", "event",
               "CREATE TABLE event(seq INTEGER PRIMARY KEY,time INTEGER NOT NULL,epoch INTEGER NOT NULL,"
               "kind TEXT NOT NULL,goal TEXT NOT NULL,step TEXT NOT NULL,subject TEXT NOT NULL,key TEXT NOT NULL,"
               "actor TEXT NOT NULL,text TEXT NOT NULL,body TEXT NOT NULL,hash BLOB NOT NULL) STRICT"},
    definition{"index", "event_kind", "CREATE INDEX event_kind ON event(kind) WHERE kind<>''"},
    definition{"index", "event_goal", "CREATE INDEX event_goal ON event(goal) WHERE goal<>''"},
    definition{"index", "event_subject", "CREATE INDEX event_subject ON event(subject) WHERE subject<>''"},
    definition{"index", "event_key", "CREATE INDEX event_key ON event(key) WHERE key<>''"},
};

constexpr std::array indexes{
    text_index{"event_kind", "kind", text_kind},
    text_index{"event_goal", "goal", text_goal},
    text_index{"event_subject", "subject", text_subject},
    text_index{"event_key", "key", text_key},
};

constexpr std::uint64_t page_size = 4096;
constexpr int busy_ms_max = 10'000;
constexpr const char* restore_hint =
    "run 'flywheel journal verify', then restore the folder from a backup or keep the good entries with "
    "'flywheel journal repair'";

/// The errno of the last write that failed on `db`'s log or database. SQLite reports a full disk as such only for
/// ENOSPC; a quota or a file size limit is "disk I/O error" to it, and the errno that it passes on may be a later one's.
int errno_of_write(sqlite3* db) {
  for (const int which : {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER}) {
    sqlite3_file* file = nullptr;
    int value = 0;
    if (sqlite3_file_control(db, "main", which, &file) == SQLITE_OK && file != nullptr && file->pMethods != nullptr &&
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &value) == SQLITE_OK && value != 0)
      return value;
  }
  return 0;
}

errc errc_of(sqlite3* db, int code) {
  const int kind = code & 0xff;
  int system_errno = 0;
  if (db != nullptr && (kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN)) // it means something for these only
    system_errno = code == SQLITE_IOERR_WRITE ? errno_of_write(db) : sqlite3_system_errno(db);
  if (system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG)
    return errc::disk_full;
  switch (kind) {
  case SQLITE_FULL: return errc::disk_full;
  case SQLITE_NOMEM: return errc::out_of_memory;
  case SQLITE_CORRUPT: case SQLITE_NOTADB: case SQLITE_FORMAT: return errc::journal_damaged;
  case SQLITE_PERM: case SQLITE_READONLY: case SQLITE_AUTH: return errc::permission_denied;
  case SQLITE_BUSY: case SQLITE_LOCKED: return errc::timed_out;
  case SQLITE_CANTOPEN: return system_errno == EACCES || system_errno == EPERM || system_errno == EROFS
                                   ? errc::permission_denied : errc::io_failed;
  case SQLITE_IOERR: return errc::io_failed;
  case SQLITE_TOOBIG: return errc::too_large;
  default: return errc::library_failed;
  }
}

result<database> open_database(const std::string& name, int flags) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  database db{raw};
  if (code != SQLITE_OK)
    return failure(raw, code, "open " + name);
  sqlite3_busy_timeout(raw, busy_ms_max);
  return db;
}

error damaged(std::string what) { return error{errc::journal_damaged, std::move(what), {}, restore_hint}; }

/// `path` as part of a "file:" URI.
std::string uri_of(const fs::path& path) {
  std::string uri = "file:";
  for (const char c : fs::absolute(path).string()) {
    if (c == '?' || c == '#' || c == '%') {
      constexpr std::string_view digits = "0123456789ABCDEF";
      uri += '%';
      uri += digits[static_cast<unsigned char>(c) >> 4];
      uri += digits[static_cast<unsigned char>(c) & 15];
    } else {
      uri += c;
    }
  }
  return uri;
}

std::uint64_t size_or_zero(const fs::path& path) {
  std::error_code code;
  const auto size = fs::file_size(path, code);
  return code ? 0 : size;
}

result<database> open_tolerant(const std::string& name, int flags) {
  FLYWHEEL_TRY(auto db, open_database(name, flags));
  // writable_schema makes SQLite accept a file that is shorter than its header says; nothing is ever written.
  sqlite3_db_config(db.get(), SQLITE_DBCONFIG_DEFENSIVE, 0, nullptr);
  sqlite3_db_config(db.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  FLYWHEEL_CHECK(run(db.get(), "PRAGMA writable_schema=ON; PRAGMA query_only=ON; PRAGMA cell_size_check=ON;"
                               "PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0"));
  // The first real access: opens the log, and recovers it if its writer was killed.
  FLYWHEEL_TRY([[maybe_unused]] const auto version, one_number(db.get(), "PRAGMA schema_version"));
  return db;
}

} // namespace

void close_database::operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
void finalize_statement::operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }

error failure(sqlite3* db, int code, const std::string& what) {
  const int full_code = db != nullptr ? sqlite3_extended_errcode(db) : code;
  const auto translated = errc_of(db, full_code);
  error e{translated, what + ": " + sqlite3_errstr(full_code)};
  if (translated == errc::journal_damaged)
    e.hint = restore_hint;
  else if (translated == errc::disk_full)
    e.hint = "free some space; nothing needs to be repaired";
  return e;
}

status run(sqlite3* db, const char* sql) {
  if (const int code = sqlite3_exec(db, sql, nullptr, nullptr, nullptr); code != SQLITE_OK)
    return failure(db, code, std::string{"journal: "} + std::string{sql}.substr(0, 60));
  return success();
}

result<statement> prepare(sqlite3* db, const std::string& sql) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(db, sql.c_str(), static_cast<int>(sql.size()), 0, &raw, nullptr);
  statement s{raw};
  if (code != SQLITE_OK) {
    auto e = failure(db, code, "journal");
    if (code == SQLITE_ERROR) // our statements are right, so what they name is not there
      return damaged(std::string{"the definition of the journal's table is damaged: "} + sqlite3_errmsg(db));
    return e;
  }
  return s;
}

result<std::string> one_text(sqlite3* db, const char* sql) {
  FLYWHEEL_TRY(const auto s, prepare(db, sql));
  if (const int code = sqlite3_step(s.get()); code != SQLITE_ROW)
    return failure(db, code, sql);
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(s.get(), 0));
  return std::string{text != nullptr ? text : ""};
}

result<std::int64_t> one_number(sqlite3* db, const char* sql) {
  FLYWHEEL_TRY(const auto s, prepare(db, sql));
  if (const int code = sqlite3_step(s.get()); code != SQLITE_ROW)
    return failure(db, code, sql);
  return std::int64_t{sqlite3_column_int64(s.get(), 0)};
}

status create(const fs::path& path) {
  FLYWHEEL_TRY(const auto db, open_database(path.string(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
  FLYWHEEL_CHECK(run(db.get(), ("PRAGMA encoding='UTF-8'; PRAGMA page_size=" + std::to_string(page_size) +
                                "; PRAGMA auto_vacuum=NONE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                                "BEGIN IMMEDIATE").c_str()));
  for (const auto& d : definitions)
    FLYWHEEL_CHECK(run(db.get(), d.sql));
  FLYWHEEL_CHECK(run(db.get(), ("PRAGMA application_id=" + std::to_string(application_id) +
                                "; PRAGMA user_version=" + std::to_string(format_version)).c_str()));
  FLYWHEEL_CHECK(run(db.get(), "COMMIT"));
  return run(db.get(), "PRAGMA wal_checkpoint(TRUNCATE)");
}

status check_schema(sqlite3* db) {
  FLYWHEEL_TRY(const auto id, one_number(db, "PRAGMA application_id"));
  if (id != application_id)
    return damaged("journal.db does not say that it is a Flywheel journal");
  FLYWHEEL_TRY(const auto version, one_number(db, "PRAGMA user_version"));
  if (version > format_version && version < 1000)
    return error{errc::incompatible_version,
                 "journal.db has format " + std::to_string(version) + ", this program knows " +
                     std::to_string(format_version), {}, "use the Flywheel version that wrote it, or a newer one"};
  if (version != format_version)
    return damaged("journal.db has no known format number");
  // A database that is not in WAL mode would be read without its log.
  FLYWHEEL_TRY(const auto mode, one_text(db, "PRAGMA journal_mode"));
  const bool immutable = sqlite3_uri_boolean(sqlite3_db_filename(db, "main"), "immutable", 0) != 0;
  if (mode != "wal" && !immutable) // opened as immutable only when there is no log
    return damaged("journal.db is not in WAL mode");
  FLYWHEEL_TRY(const auto encoding, one_text(db, "PRAGMA encoding"));
  if (encoding != "UTF-8")
    return damaged("journal.db is not in UTF-8");
  FLYWHEEL_TRY(const auto s, prepare(db, "SELECT type,name,sql FROM sqlite_schema ORDER BY rowid"));
  std::size_t i = 0;
  int code = sqlite3_step(s.get());
  for (; code == SQLITE_ROW && i < definitions.size(); code = sqlite3_step(s.get()), ++i) {
    const auto text = [&](int column) {
      const auto* t = reinterpret_cast<const char*>(sqlite3_column_text(s.get(), column));
      return std::string_view{t != nullptr ? t : ""};
    };
    if (text(0) != definitions[i].type || text(1) != definitions[i].name || text(2) != definitions[i].sql)
      break;
  }
  if (code != SQLITE_DONE && code != SQLITE_ROW)
    return failure(db, code, "read the journal's definitions");
  if (code == SQLITE_ROW || i != definitions.size())
    return damaged("the definitions of the journal's table and index were altered");
  return success();
}

result<database> open_writer(const fs::path& path) {
  FLYWHEEL_TRY(auto db, open_database(path.string(), SQLITE_OPEN_READWRITE));
  // Checkpoints are the writer's own to time; a log that grew beyond 64 MiB behind a slow reader is cut afterwards.
  FLYWHEEL_CHECK(run(db.get(), "PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0;"
                               "PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY; PRAGMA synchronous=FULL;"
                               "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=67108864"));
  FLYWHEEL_CHECK(check_schema(db.get()));
  return db;
}

result<database> open_reader(const fs::path& path) {
  auto db = open_tolerant(path.string(), SQLITE_OPEN_READWRITE);
  if (db || db.error().code == errc::journal_damaged)
    return db;
  // No right to write here, or no space for SQLite's shared memory: that is no reason not to read.
  if (auto beside = open_tolerant(path.string(), SQLITE_OPEN_READONLY))
    return beside;
  if (size_or_zero(path.string() + "-wal") == 0)
    return open_tolerant(uri_of(path) + "?immutable=1", SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
  auto e = std::move(db).error();
  e.hint = "its writer was killed and left a log that only a user who may write in " + path.parent_path().string() +
           " can read; run the command as that user, or on a copy of the folder";
  return e;
}

result<std::string> structure_problem(sqlite3* db) {
  FLYWHEEL_TRY(auto text, one_text(db, "PRAGMA quick_check(1)"));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text == "ok" ? std::string{} : text;
}

row read_row(sqlite3_stmt* s) {
  row r;
  r.well_formed = true;
  for (int c = 0; c < 3; ++c)
    r.well_formed = r.well_formed && sqlite3_column_type(s, c) == SQLITE_INTEGER;
  r.entry.seq = static_cast<std::uint64_t>(sqlite3_column_int64(s, 0));
  r.entry.time_ns = sqlite3_column_int64(s, 1);
  r.entry.epoch = static_cast<std::uint64_t>(sqlite3_column_int64(s, 2));
  for (std::size_t i = 0; i < chain_texts; ++i) {
    const int c = static_cast<int>(3 + i);
    if (sqlite3_column_type(s, c) != SQLITE_TEXT) {
      r.well_formed = false;
      continue;
    }
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(s, c));
    if (text == nullptr) // out of memory, or a length that the page cannot hold
      r.well_formed = false;
    else
      r.entry.texts[i] = {text, static_cast<std::size_t>(sqlite3_column_bytes(s, c))};
  }
  const auto* hash = static_cast<const std::uint8_t*>(sqlite3_column_blob(s, 11));
  if (sqlite3_column_type(s, 11) == SQLITE_BLOB && hash != nullptr &&
      sqlite3_column_bytes(s, 11) == static_cast<int>(r.hash.bytes.size()))
    std::copy_n(hash, r.hash.bytes.size(), r.hash.bytes.begin());
  else
    r.well_formed = false;
  return r;
}

result<event> event_of(const row& r) {
  const auto kind = event_kind_from_name(r.entry.texts[text_kind]);
  if (!kind)
    return error{errc::incompatible_version,
                 "entry " + std::to_string(r.entry.seq) + " is of the unknown kind '" +
                     std::string{r.entry.texts[text_kind].substr(0, 40)} + "'", {},
                 "use the Flywheel version that wrote it, or a newer one"};
  const auto& t = r.entry.texts;
  event e;
  e.kind = *kind;
  e.goal = t[text_goal];
  e.step = t[text_step];
  e.subject = t[text_subject];
  e.key = t[text_key];
  e.actor = t[text_actor];
  e.text = t[text_text];
  e.body = t[text_body];
  e.epoch = r.entry.epoch;
  e.seq = r.entry.seq;
  e.time = {r.entry.time_ns};
  e.hash = r.hash;
  return e;
}

status insert(sqlite3* db, sqlite3_stmt* s, const chain_entry& entry, const digest& hash) {
  sqlite3_bind_int64(s, 1, static_cast<sqlite3_int64>(entry.seq));
  sqlite3_bind_int64(s, 2, entry.time_ns);
  sqlite3_bind_int64(s, 3, static_cast<sqlite3_int64>(entry.epoch));
  for (std::size_t i = 0; i < chain_texts; ++i) {
    // An empty view may have no address, and SQLite takes no address for NULL.
    const char* text = entry.texts[i].data() != nullptr ? entry.texts[i].data() : "";
    sqlite3_bind_text64(s, static_cast<int>(4 + i), text, entry.texts[i].size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  sqlite3_bind_blob(s, 12, hash.bytes.data(), static_cast<int>(hash.bytes.size()), SQLITE_STATIC);
  const int code = sqlite3_step(s);
  const auto outcome = code == SQLITE_DONE ? success() : status{failure(db, code, "append to the journal")};
  sqlite3_reset(s);
  return outcome;
}

std::span<const text_index> text_indexes() { return indexes; }

result<tail> read_tail(sqlite3* db) {
  FLYWHEEL_TRY(const auto s, prepare(db, "SELECT seq,hash FROM event ORDER BY seq DESC LIMIT 1"));
  const int code = sqlite3_step(s.get());
  if (code == SQLITE_DONE)
    return tail{};
  if (code != SQLITE_ROW)
    return failure(db, code, "read the journal's end");
  tail t;
  t.seq = static_cast<std::uint64_t>(sqlite3_column_int64(s.get(), 0));
  const auto* hash = static_cast<const std::uint8_t*>(sqlite3_column_blob(s.get(), 1));
  if (hash == nullptr || sqlite3_column_bytes(s.get(), 1) != static_cast<int>(t.hash.bytes.size()))
    return damaged("entry " + std::to_string(t.seq) + " has no hash");
  std::copy_n(hash, t.hash.bytes.size(), t.hash.bytes.begin());
  return t;
}

status check_files(const fs::path& folder) {
  std::error_code code;
  const auto path = folder / database_name;
  const bool there = fs::exists(fs::symlink_status(path, code));
  if (code && code != std::errc::no_such_file_or_directory)
    return error_from_errno(code.value(), "stat " + path.string());
  const auto mark = read_mark(folder);
  const bool had_entries = (mark && mark->seq > 0) || size_or_zero(folder / log_name) > 0;
  if (there ? size_or_zero(path) == 0 : had_entries || mark.has_value())
    return damaged(std::string{"entry 1 cannot be read: journal.db is "} + (there ? "empty" : "missing") +
                   (mark ? ", yet entries up to " + std::to_string(mark->seq) + " were known to be written"
                         : ", yet it was never created that way"));
  if (!there)
    return error{errc::not_found, "there is no journal in " + folder.string()};
  return success();
}

std::string cut_short(const fs::path& folder) {
  const auto size = size_or_zero(folder / database_name);
  return size % page_size == 0 || size_or_zero(folder / log_name) > 0
             ? std::string{} : "journal.db was cut in the middle of its last page";
}

result<snapshot> snapshot::begin(sqlite3* db) {
  if (sqlite3_get_autocommit(db) == 0)
    return snapshot{nullptr}; // inside another one's lifetime
  FLYWHEEL_CHECK(run(db, "BEGIN"));
  return snapshot{db};
}

snapshot::~snapshot() {
  if (db_ != nullptr)
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

} // namespace flywheel::store
