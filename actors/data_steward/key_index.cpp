#include "actors/data_steward/key_index.hpp"

#include "cluster/content/file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// A key and its row as they lie in the temporary file.
struct spilled_key {
  key_value key;
  row_place at;
};
static_assert(sizeof(spilled_key) == 32);

constexpr std::size_t parts = 64, buffered = 2048;

std::uint64_t mix(key_value k) noexcept {
  std::uint64_t h = (k.low ^ (k.high * 0x9e3779b97f4a7c15ULL)) * 0xff51afd7ed558ccdULL;
  h ^= h >> 32;
  return h * 0xc4ceb9fe1a85ec53ULL;
}

/// A file without a name: gone when closed, whatever happens to the process.
result<file_handle> nameless_file(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0)
    return file_handle{descriptor};
  std::string name = (folder / "flywheel-keys-XXXXXX").string(); // not every file system can do without a name
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named < 0)
    return error_from_errno(errno, "create a temporary file in " + folder.string());
  ::unlink(name.c_str());
  return file_handle{named};
}

/// Appends to one file and reads it back from the beginning.
class spill_file {
public:
  status add(const fs::path& folder, const spilled_key& k) {
    if (file_.get() < 0) {
      FLYWHEEL_TRY(file_, nameless_file(folder));
    }
    buffer_.push_back(k);
    ++size_;
    return buffer_.size() < buffered ? success() : flush(folder);
  }
  status flush(const fs::path& folder) {
    const auto bytes = std::string_view{reinterpret_cast<const char*>(buffer_.data()), buffer_.size() * sizeof(spilled_key)};
    FLYWHEEL_CHECK(write_all(file_.get(), bytes, folder / "(temporary keys)"));
    buffer_.clear();
    return success();
  }
  std::uint64_t size() const { return size_; }
  /// Calls take(key) for each, in the order in which they were added.
  template <class F> status read_all(const fs::path& folder, F&& take) {
    if (size_ == 0)
      return success();
    FLYWHEEL_CHECK(flush(folder));
    std::vector<spilled_key> some(buffered);
    std::uint64_t done = 0;
    while (done < size_) {
      const auto want = std::min<std::uint64_t>(buffered, size_ - done) * sizeof(spilled_key);
      const auto got = ::pread(file_.get(), some.data(), want, static_cast<off_t>(done * sizeof(spilled_key)));
      if (got < 0 && errno == EINTR)
        continue;
      if (got < 0)
        return error_from_errno(errno, "read temporary keys in " + folder.string());
      const auto whole = static_cast<std::size_t>(got) / sizeof(spilled_key);
      if (whole == 0)
        return error{errc::io_failed, "temporary keys in " + folder.string() + " are cut off"};
      for (std::size_t i = 0; i < whole; ++i)
        FLYWHEEL_CHECK(take(some[i]));
      done += whole;
    }
    return success();
  }

private:
  file_handle file_;
  std::vector<spilled_key> buffer_;
  std::uint64_t size_ = 0;
};

/// Duplicates within one file; splits it further if it does not fit into memory.
status compare(spill_file& file, const fs::path& folder, std::size_t memory_max, unsigned level, std::vector<row_place>& out) {
  const bool fits = file.size() * sizeof(spilled_key) <= memory_max;
  if (!fits && level < 8) {
    std::array<spill_file, 16> finer;
    FLYWHEEL_CHECK(file.read_all(folder, [&](const spilled_key& k) {
      return finer[mix(k.key) >> (54 - 4 * level) & 15].add(folder, k);
    }));
    file = {};
    for (auto& f : finer)
      FLYWHEEL_CHECK(compare(f, folder, memory_max, level + 1, out));
    return success();
  }
  // Beyond eight levels only equal keys are left together; the same key that often is found in any order.
  std::vector<spilled_key> all;
  all.reserve(file.size());
  FLYWHEEL_CHECK(file.read_all(folder, [&](const spilled_key& k) {
    all.push_back(k);
    return success();
  }));
  std::sort(all.begin(), all.end(), [](const spilled_key& a, const spilled_key& b) {
    if (a.key.low != b.key.low)
      return a.key.low < b.key.low;
    return a.key.high != b.key.high ? a.key.high < b.key.high : a.at.row < b.at.row;
  });
  for (std::size_t i = 1; i < all.size(); ++i)
    if (all[i].key == all[i - 1].key)
      out.push_back(all[i].at);
  return success();
}

} // namespace

struct key_index::spill_files {
  std::array<spill_file, parts> part;
};

key_index::key_index(std::size_t memory_max, fs::path folder) : memory_max_(memory_max), folder_(std::move(folder)) {}
key_index::~key_index() = default;
key_index::key_index(key_index&&) noexcept = default;
key_index& key_index::operator=(key_index&&) noexcept = default;

std::size_t key_index::memory() const noexcept {
  return pages_.size() * page_words * sizeof(std::uint64_t) + table_.size() * sizeof(key_value);
}

/// Makes `last_page_` the page with this number, or gives up on pages if they are too sparse for their memory.
status key_index::find_page(std::uint64_t number) {
  auto& page = pages_[number];
  if (!page) {
    // A page costs as much as 512 keys in a table; a sparse beginning is forgiven.
    const bool sparse = pages_.size() > 64 && count_ / pages_.size() < 256;
    const bool full = (pages_.size() + 1) * page_words * sizeof(std::uint64_t) > memory_max_;
    if (sparse || full) {
      pages_.erase(number);
      pages_to_table();
      return success();
    }
    page = std::make_unique<std::uint64_t[]>(page_words);
  }
  last_page_number_ = number;
  last_page_ = page.get();
  return success();
}

/// From now on keys go to the table; full pages that would not fit into it stay, and are looked at first.
void key_index::pages_to_table() {
  pages_alive_ = false;
  last_page_ = nullptr;
  if (count_ * 2 * sizeof(key_value) > memory_max_)
    return;
  for (const auto& [number, page] : pages_)
    for (std::size_t w = 0; w < page_words; ++w)
      for (std::uint64_t bits = page[w]; bits != 0; bits &= bits - 1)
        insert_in_table({(number << page_shift) | (w << 6) | static_cast<unsigned>(__builtin_ctzll(bits)), 0});
  pages_.clear();
}

void key_index::grow(std::size_t capacity) {
  std::vector<key_value> old(capacity);
  old.swap(table_);
  const std::size_t mask = table_.size() - 1;
  for (const key_value& k : old)
    if (k != key_value{}) {
      std::size_t i = mix(k) & mask;
      while (table_[i] != key_value{})
        i = (i + 1) & mask;
      table_[i] = k;
    }
}

/// True if it was there. The caller has made room.
bool key_index::insert_in_table(key_value key) {
  if (key == key_value{})
    return std::exchange(zero_there_, true);
  if (table_.empty() || (in_table_ + 1) * 4 > table_.size() * 3)
    grow(std::max<std::size_t>(1024, table_.size() * 2));
  const std::size_t mask = table_.size() - 1;
  std::size_t i = mix(key) & mask;
  while (table_[i] != key_value{}) {
    if (table_[i] == key)
      return true;
    i = (i + 1) & mask;
  }
  table_[i] = key;
  ++in_table_;
  return false;
}

result<bool> key_index::insert(key_value key, row_place at) {
  if (!pages_.empty() && key.high == 0) { // pages that were too many to be moved
    const auto page = pages_.find(key.low >> page_shift);
    if (page != pages_.end()) {
      std::uint64_t& word = page->second[(key.low & page_mask) >> 6];
      const std::uint64_t bit = std::uint64_t{1} << (key.low & 63);
      const bool there = (word & bit) != 0;
      word |= bit;
      return there;
    }
  }
  const bool must_grow = (in_table_ + 1) * 4 > table_.size() * 3;
  // Old and new table live side by side while growing.
  if (!spill_ && must_grow && !table_.empty() &&
      pages_.size() * page_words * 8 + 3 * table_.size() * sizeof(key_value) > memory_max_)
    spill_ = std::make_unique<spill_files>();
  if (!spill_ && must_grow && table_.empty() && pages_.size() * page_words * 8 + 1024 * sizeof(key_value) > memory_max_)
    spill_ = std::make_unique<spill_files>();
  if (!spill_)
    return insert_in_table(key);
  if (key == key_value{}) // needs no room
    return std::exchange(zero_there_, true);
  if (!table_.empty()) {
    const std::size_t mask = table_.size() - 1;
    for (std::size_t i = mix(key) & mask; table_[i] != key_value{}; i = (i + 1) & mask)
      if (table_[i] == key)
        return true;
  }
  FLYWHEEL_CHECK(spill(key, at));
  return false;
}

status key_index::spill(key_value key, row_place at) {
  return spill_->part[mix(key) >> 58].add(folder_, {key, at});
}

result<std::vector<row_place>> key_index::finish() {
  std::vector<row_place> out;
  pages_.clear();
  table_ = {};
  if (spill_)
    for (auto& part : spill_->part)
      FLYWHEEL_CHECK(compare(part, folder_, memory_max_, 0, out));
  spill_.reset();
  std::sort(out.begin(), out.end(), [](const row_place& a, const row_place& b) { return a.row < b.row; });
  return out;
}

} // namespace flywheel
