#include "cluster/base/random.hpp"
#include "cluster/journal/chain_walker.hpp"
#include "cluster/journal/file_lock.hpp"
#include "cluster/journal/journal_examine.hpp"
#include "cluster/journal/journal_store.hpp"
#include "cluster/journal/log_format.hpp"
#include "cluster/journal/mark_format.hpp"

#include <sqlite3.h>

#include <array>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// The entries of an index as a multiset, whatever their order: how many, and the sum of a hash of each.
struct fingerprint {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  void add(std::string_view text, std::uint64_t seq) {
    ++count;
    sum += stable_hash(text, seq);
  }
  bool operator==(const fingerprint&) const = default;
};

using fingerprints = std::array<fingerprint, chain_texts>;

/// Walks the table; `visit` sees each good row. Returns what ended the walk early, or nothing.
template <class Visit> std::string walk(sqlite3* db, chain_walker& walker, const std::optional<journal_mark>& mark,
                                        const Visit& visit) {
  const auto s = store::prepare(db, "SELECT " + std::string{store::columns} + " FROM event e NOT INDEXED ORDER BY seq");
  if (!s)
    return walker.cannot_read(s.error().what);
  int code = 0;
  while ((code = sqlite3_step(s->get())) == SQLITE_ROW) {
    const auto r = store::read_row(s->get());
    if (auto problem = walker.next(r); !problem.empty())
      return problem;
    if (mark && mark->seq == r.entry.seq && mark->hash != r.hash)
      return "entry " + std::to_string(mark->seq) + " is not the one that was once verified: it, or one before it, was "
             "altered together with the chain";
    if (!visit(r))
      return {};
  }
  if (code != SQLITE_DONE)
    return walker.cannot_read(sqlite3_errstr(code));
  if (mark && walker.good().seq < mark->seq)
    return "entry " + std::to_string(walker.first_bad()) + " is missing: entries up to " + std::to_string(mark->seq) +
           " were known to be written";
  return {};
}

/// Empty if the index holds exactly what `expected` says, in order: only then does a search find everything.
std::string index_problem(sqlite3* db, const store::text_index& index, const fingerprint& expected) {
  const std::string name = index.name;
  const std::string column = index.column;
  const auto s = store::prepare(db, "SELECT " + column + ",seq FROM event INDEXED BY " + name + " WHERE " + column +
                                        "<>'' ORDER BY " + column + ",seq");
  if (!s)
    return "the search index " + name + " cannot be read: " + s.error().what;
  fingerprint found;
  std::string last_text;
  std::uint64_t last_seq = 0;
  int code = 0;
  while ((code = sqlite3_step(s->get())) == SQLITE_ROW) {
    const auto* raw = reinterpret_cast<const char*>(sqlite3_column_text(s->get(), 0));
    const std::string_view text{raw != nullptr ? raw : "", static_cast<std::size_t>(sqlite3_column_bytes(s->get(), 0))};
    const auto seq = static_cast<std::uint64_t>(sqlite3_column_int64(s->get(), 1));
    const auto order = text.compare(last_text);
    if (order < 0 || (order == 0 && seq <= last_seq))
      return "the search index " + name + " is out of order at entry " + std::to_string(seq);
    found.add(text, seq);
    if (order != 0)
      last_text = text;
    last_seq = seq;
  }
  if (code != SQLITE_DONE)
    return "the search index " + name + " cannot be read: " + sqlite3_errstr(code);
  return found == expected ? std::string{} : "the search index " + name + " does not agree with the entries";
}

} // namespace

result<journal_verdict> verify_journal(const fs::path& folder) {
  return examine_journal(folder, [&] { return file_lock::holder(folder / "journal.lock") == 0; });
}

result<journal_verdict> examine_journal(const fs::path& folder, const std::function<bool()>& log_is_still) {
  journal_verdict verdict;
  const auto damaged = [&](std::string reason) {
    verdict.reason = std::move(reason);
    return verdict;
  };
  // Both read before the database: a writer may move the mark on meanwhile, but never beyond what we see afterwards,
  // and the first to open the database may bring the log to an end.
  const auto mark = read_mark(folder);
  std::string log_end;
  std::string cut;
  if (log_is_still()) {
    log_end = log_problem(folder / store::log_name);
    cut = store::cut_short(folder);
    if (!log_is_still()) { // a writer came: what looked like an end was its doing
      log_end.clear();
      cut.clear();
    }
  }
  if (const auto files = store::check_files(folder); !files) {
    if (files.error().code != errc::journal_damaged)
      return files.error();
    verdict.first_bad = 1;
    return damaged(files.error().what);
  }
  auto db = store::open_reader(folder / store::database_name);
  if (!db) {
    if (db.error().code != errc::journal_damaged)
      return std::move(db).error();
    verdict.first_bad = 1;
    return damaged("entry 1 cannot be read: " + db.error().what);
  }
  if (const auto schema = store::check_schema(db->get()); !schema) {
    if (schema.error().code != errc::journal_damaged)
      return schema.error();
    verdict.first_bad = 1;
    return damaged("entry 1 cannot be trusted: " + schema.error().what);
  }
  FLYWHEEL_TRY(const auto snapshot, store::snapshot::begin(db->get()));

  chain_walker walker;
  fingerprints expected{};
  auto problem = walk(db->get(), walker, mark, [&](const store::row& r) {
    for (const auto& index : store::text_indexes())
      if (const auto text = r.entry.texts[index.text]; !text.empty())
        expected[index.text].add(text, r.entry.seq);
    return true;
  });
  verdict.events = walker.good().seq;
  verdict.head = walker.good().hash;
  if (!log_end.empty())
    problem = problem.empty() ? "entry " + std::to_string(walker.first_bad()) + " is missing: " + log_end
                              : problem + "; " + log_end;
  if (!problem.empty()) {
    verdict.first_bad = walker.first_bad();
    if (mark && walker.good().seq == mark->seq && mark->hash != walker.good().hash) // it fits, but is another chain
      verdict.first_bad = mark->seq;
    return damaged(std::move(problem));
  }

  if (!cut.empty())
    return damaged("every entry is good, but " + cut);
  for (const auto& index : store::text_indexes())
    if (auto bad = index_problem(db->get(), index, expected[index.text]); !bad.empty())
      return damaged("every entry is good, but " + bad);
  if (const auto structure = store::structure_problem(db->get()); !structure)
    return damaged("every entry is good, but the file's structure is not: " + structure.error().what);
  else if (!structure->empty())
    return damaged("every entry is good, but the file's structure is not: " + *structure);

  verdict.intact = true;
  verdict.reason = std::to_string(verdict.events) + " entries, all in order";
  return verdict;
}

} // namespace flywheel
