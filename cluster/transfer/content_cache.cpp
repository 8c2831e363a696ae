#include "cluster/transfer/content_cache.hpp"

#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/transfer/folder_walk.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace flywheel::transfer {

namespace fs = std::filesystem;

content_cache::pin& content_cache::pin::operator=(pin&& other) noexcept {
  std::swap(cache_, other.cache_);
  std::swap(name_, other.name_);
  std::swap(path_, other.path_);
  return *this;
}
content_cache::pin::~pin() {
  if (cache_)
    cache_->unpin(name_);
}

result<std::shared_ptr<content_cache>> content_cache::open(fs::path folder, std::uint64_t bytes_max) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code)
    return error_from_errno(code.value(), "create " + folder.string());
  std::shared_ptr<content_cache> c{new content_cache{std::move(folder), bytes_max}};
  struct found {
    digest name;
    entry what;
    std::int64_t changed = 0;
  };
  std::vector<found> all;
  for (fs::directory_iterator i{c->folder_, code}, end; !code && i != end; i.increment(code)) {
    const auto name = i->path().filename().string();
    const bool part = name.ends_with(".part");
    const auto d = digest::from_hex(std::string_view{name}.substr(0, name.size() - (part ? 5 : 0)));
    struct stat about {};
    if (!d || ::lstat(i->path().c_str(), &about) != 0 || !S_ISREG(about.st_mode)) {
      std::error_code ignored;
      fs::remove_all(i->path(), ignored);
      continue;
    }
    all.push_back({*d, {static_cast<std::uint64_t>(about.st_size), 0, 0, !part, false}, about.st_mtim.tv_sec * 1'000'000'000 + about.st_mtim.tv_nsec});
  }
  if (code)
    return error_from_errno(code.value(), "list " + c->folder_.string());
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.changed < b.changed; });
  for (auto& f : all) {
    if (const auto twice = c->entries_.find(f.name); twice != c->entries_.end()) { // whole, and in part: the part is of no use
      std::error_code ignored;
      fs::remove(c->path_of(f.name, false), ignored);
      twice->second = {f.what.whole ? f.what.size : twice->second.size, ++c->uses_, 0, true, false};
      continue;
    }
    f.what.used = ++c->uses_;
    c->entries_[f.name] = f.what;
  }
  const std::lock_guard lock{c->mutex_};
  c->make_room(0, digest{});
  return c;
}

std::uint64_t content_cache::sum() const {
  std::uint64_t all = 0;
  for (const auto& [d, e] : entries_)
    all += e.size;
  return all;
}

std::uint64_t content_cache::bytes() const {
  const std::lock_guard lock{mutex_};
  return sum();
}

void content_cache::drop(std::map<digest, entry>::iterator i) {
  ::unlink(path_of(i->first, i->second.whole).c_str());
  entries_.erase(i);
}

bool content_cache::make_room(std::uint64_t size, const digest& but) {
  if (size > bytes_max_)
    return false;
  for (auto have = sum(); have > bytes_max_ - size;) {
    auto oldest = entries_.end();
    for (auto i = entries_.begin(); i != entries_.end(); ++i)
      if (i->second.pins == 0 && !i->second.busy && i->first != but && (oldest == entries_.end() || i->second.used < oldest->second.used))
        oldest = i;
    if (oldest == entries_.end())
      return false;
    have -= oldest->second.size;
    drop(oldest);
  }
  return true;
}

void content_cache::unpin(const digest& d) {
  const std::lock_guard lock{mutex_};
  if (const auto i = entries_.find(d); i != entries_.end() && i->second.pins > 0)
    --i->second.pins;
  changed_.notify_all();
}

status content_cache::fetch_whole(const digest& name, std::uint64_t size, const fetch_function& fetch, const std::function<bool()>& stop) {
  const auto part = path_of(name, false);
  FLYWHEEL_TRY(auto file, open_file(part, O_RDWR | O_CREAT));
  FLYWHEEL_CHECK(fetch(file.get()));
  FLYWHEEL_TRY(const auto state, state_of(file.get(), part.string()));
  FLYWHEEL_TRY(const auto sha, digest_of_descriptor(file.get(), part.string(), stop));
  if (state.size != size || sha != name) {
    ::unlink(part.c_str());
    return error{errc::checksum_mismatch, "what was fetched is not what was announced", {}, "if it happens again, check the head's disk and the network"};
  }
  FLYWHEEL_CHECK(sync_file(file.get(), part));
  ::fchmod(file.get(), 0444);
  FLYWHEEL_CHECK(file.close(part));
  if (::rename(part.c_str(), path_of(name, true).c_str()) != 0)
    return error_from_errno(errno, "rename to " + path_of(name, true).string());
  return sync_folder(folder_);
}

result<content_cache::pin> content_cache::get(const digest& name, std::uint64_t size, const fetch_function& fetch, const std::function<bool()>& stop) {
  std::unique_lock lock{mutex_};
  const auto out = [&] {
    auto& e = entries_[name];
    ++e.pins;
    e.used = ++uses_;
    ::utimensat(AT_FDCWD, path_of(name, true).c_str(), nullptr, 0); // so that the next process knows what was used last
    pin p;
    p.cache_ = shared_from_this();
    p.name_ = name;
    p.path_ = path_of(name, true);
    return p;
  };
  // Whoever fetches it may take long; who waits for that is asked now and then whether it still wants to.
  while (entries_.contains(name) && entries_.at(name).busy) {
    if (stop && stop())
      return error{errc::interrupted, "stopped while another task fetched the same file"};
    changed_.wait_for(lock, std::chrono::milliseconds{200});
  }
  if (const auto i = entries_.find(name); i != entries_.end() && i->second.whole) {
    if (i->second.pins > 0)
      return out();
    i->second.busy = true;
    lock.unlock();
    const auto file = open_file(path_of(name, true), O_RDONLY);
    const auto sha = file ? digest_of_descriptor(file->get(), name.hex(), stop) : result<digest>{file.error()};
    lock.lock();
    i->second.busy = false;
    changed_.notify_all();
    if (sha && *sha == name)
      return out();
    if (!sha && sha.error().code == errc::interrupted)
      return sha.error();
    drop(i); // damaged, or gone: fetched anew
  }
  const auto begun = entries_.contains(name) ? entries_.at(name).size : 0;
  if (!make_room(size > begun ? size - begun : 0, name))
    return error{errc::no_capacity, "a file of " + format_bytes(size) + " does not fit into this node's cache of " + format_bytes(bytes_max_) + ", or not beside what running tasks use",
                 {}, "give the node a larger cache: --cache"};
  entries_[name] = {size, ++uses_, 0, false, true};
  status fetched;
  for (bool again = false;; again = true) {
    lock.unlock();
    fetched = fetch_whole(name, size, fetch, stop);
    lock.lock();
    if (fetched || fetched.error().code != errc::disk_full || again)
      break;
    const auto before = entries_.size();
    std::erase_if(entries_, [&](const auto& e) { // the disk has less than the bound lets us use: what is not needed now goes
      const bool goes = e.second.pins == 0 && !e.second.busy;
      if (goes)
        ::unlink(path_of(e.first, e.second.whole).c_str());
      return goes;
    });
    if (entries_.size() == before)
      break;
  }
  changed_.notify_all();
  auto& e = entries_.at(name);
  e.busy = false;
  if (fetched) {
    e.whole = true;
    return out();
  }
  struct stat about {};
  const bool there = ::stat(path_of(name, false).c_str(), &about) == 0;
  if (!there || about.st_size == 0 || fetched.error().code == errc::disk_full)
    drop(entries_.find(name)); // a full disk gets its space back
  else
    e.size = static_cast<std::uint64_t>(about.st_size);
  return fetched.error();
}

} // namespace flywheel::transfer
