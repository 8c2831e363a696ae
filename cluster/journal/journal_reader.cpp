#include "cluster/journal/journal.hpp"
#include "cluster/journal/journal_store.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace flywheel {
namespace {

struct bound_text {
  int at;
  std::string value;
};

struct query {
  std::string sql;
  std::vector<bound_text> texts;
};

/// The index is chosen here, the most selective first: SQLite has no statistics to choose by.
query query_of(const journal_filter& f) {
  query q;
  std::string where = " WHERE e.seq>?1";
  int next = 3;
  const char* index = nullptr;
  const auto equals = [&](const char* column, const char* column_index, const std::string& value) {
    if (value.empty())
      return;
    where += std::string{" AND e."} + column + "=?" + std::to_string(next);
    if (column_index != nullptr && index == nullptr) {
      index = column_index;
      where += std::string{" AND e."} + column + "<>''"; // the index is partial: SQLite must see that it applies
    }
    q.texts.push_back({next++, value});
  };
  equals("key", "event_key", f.key);
  equals("subject", "event_subject", f.subject);
  equals("goal", "event_goal", f.goal);
  equals("step", nullptr, f.step);
  if (f.kinds.size() == 1) {
    equals("kind", "event_kind", std::string{name_of(f.kinds.front())});
  } else if (!f.kinds.empty()) {
    where += " AND e.kind IN (";
    for (std::size_t i = 0; i < f.kinds.size(); ++i) {
      where += (i > 0 ? ",?" : "?") + std::to_string(next);
      q.texts.push_back({next++, std::string{name_of(f.kinds[i])}});
    }
    where += ")";
  }
  q.sql = "SELECT " + std::string{store::columns} + " FROM event e" +
          (index != nullptr ? std::string{" INDEXED BY "} + index : std::string{" NOT INDEXED"}) + where +
          " ORDER BY e.seq" + (f.newest_first ? " DESC" : "") + " LIMIT ?2";
  return q;
}

error bad_entry(std::uint64_t seq, const std::string& what) {
  return error{errc::journal_damaged, "entry " + std::to_string(seq) + " " + what, {},
               "run 'flywheel journal verify' to see how far the journal is good"};
}

} // namespace

struct journal_reader::impl {
  store::database db;
};

journal_reader::journal_reader() = default;
journal_reader::journal_reader(journal_reader&&) noexcept = default;
journal_reader& journal_reader::operator=(journal_reader&&) noexcept = default;
journal_reader::~journal_reader() = default;

result<journal_reader> journal_reader::open(const std::filesystem::path& folder) {
  FLYWHEEL_CHECK(store::check_files(folder));
  FLYWHEEL_TRY(auto db, store::open_reader(folder / store::database_name));
  FLYWHEEL_CHECK(store::check_schema(db.get()));
  journal_reader reader;
  reader.impl_ = std::make_unique<impl>(impl{std::move(db)});
  return reader;
}

status journal_reader::read(const journal_filter& filter, const std::function<bool(const event&)>& visit) const {
  auto* const db = impl_->db.get();
  const auto q = query_of(filter);
  FLYWHEEL_TRY(const auto snapshot, store::snapshot::begin(db));
  FLYWHEEL_TRY(const auto rows, store::prepare(db, q.sql));
  FLYWHEEL_TRY(const auto hash_of, store::prepare(db, "SELECT hash FROM event WHERE seq=?1"));
  constexpr std::uint64_t most = std::numeric_limits<sqlite3_int64>::max();
  sqlite3_bind_int64(rows.get(), 1, static_cast<sqlite3_int64>(std::min(filter.after_seq, most)));
  sqlite3_bind_int64(rows.get(), 2, filter.limit == 0 ? -1 : static_cast<sqlite3_int64>(std::min(filter.limit, most)));
  for (const auto& t : q.texts)
    sqlite3_bind_text64(rows.get(), t.at, t.value.data(), t.value.size(), SQLITE_STATIC, SQLITE_UTF8);

  // Unfiltered, nothing may be missing either.
  const bool gapless = q.texts.empty() && !filter.newest_first;
  chain_hasher hasher;
  store::tail last{filter.after_seq, {}};
  bool last_known = filter.after_seq == 0;
  for (;;) {
    const int code = sqlite3_step(rows.get());
    if (code == SQLITE_DONE)
      return success();
    if (code != SQLITE_ROW)
      return store::failure(db, code, "read the journal after entry " + std::to_string(last.seq));
    const auto r = store::read_row(rows.get());
    const auto seq = r.entry.seq;
    if (gapless && seq != last.seq + 1)
      return bad_entry(last.seq + 1, "is missing");
    if (!r.well_formed)
      return bad_entry(seq, "is not stored in the form in which it was written");
    digest previous;
    if (last_known && last.seq + 1 == seq) {
      previous = last.hash;
    } else if (seq > 1) {
      sqlite3_reset(hash_of.get());
      sqlite3_bind_int64(hash_of.get(), 1, static_cast<sqlite3_int64>(seq - 1));
      const auto* bytes = sqlite3_step(hash_of.get()) == SQLITE_ROW
                              ? static_cast<const std::uint8_t*>(sqlite3_column_blob(hash_of.get(), 0)) : nullptr;
      if (bytes == nullptr || sqlite3_column_bytes(hash_of.get(), 0) != static_cast<int>(previous.bytes.size()))
        return bad_entry(seq - 1, "is missing or damaged");
      std::copy_n(bytes, previous.bytes.size(), previous.bytes.begin());
    }
    if (hasher.hash(previous, r.entry) != r.hash)
      return bad_entry(seq, "does not fit the chain: it, or the entry before it, was altered");
    last = {seq, r.hash};
    last_known = true;
    FLYWHEEL_TRY(const auto e, store::event_of(r));
    if (!visit(e))
      return success();
  }
}

result<std::vector<event>> journal_reader::read(const journal_filter& filter) const {
  std::vector<event> events;
  FLYWHEEL_CHECK(read(filter, [&](const event& e) {
    events.push_back(e);
    return true;
  }));
  return events;
}

result<std::uint64_t> journal_reader::last_seq() const {
  FLYWHEEL_TRY(const auto tail, store::read_tail(impl_->db.get()));
  return tail.seq;
}

} // namespace flywheel
