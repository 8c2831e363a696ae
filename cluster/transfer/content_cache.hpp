#pragma once
// Fetched files, each under the name of its content (SHA-256), within a bound of bytes; what was used longest ago goes first. A file in use is
// pinned. What was fetched in part stays, too, and is gone on with. Damage is found before a file is given out (I10).

#include "cluster/content/digest.hpp"

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace flywheel::transfer {

/// Thread-safe. One process owns the folder.
class content_cache : public std::enable_shared_from_this<content_cache> {
public:
  /// Keeps a file in the cache for as long as it lives.
  class pin {
  public:
    pin() = default;
    pin(pin&& other) noexcept = default;
    pin& operator=(pin&& other) noexcept;
    ~pin();
    const std::filesystem::path& path() const noexcept { return path_; }

  private:
    friend class content_cache;
    std::shared_ptr<content_cache> cache_;
    digest name_;
    std::filesystem::path path_;
  };
  /// Fills the rest of a file that may have a beginning already.
  using fetch_function = std::function<status(int descriptor)>;

  /// Makes the folder, and takes over what an earlier process left there; everything that is none of the cache's is removed.
  static result<std::shared_ptr<content_cache>> open(std::filesystem::path folder, std::uint64_t bytes_max);
  /// The file with this content: from the cache if it is there and whole, else fetched. If another thread fetches it, it is waited for.
  /// no_capacity: it does not fit beside what is in use. checksum_mismatch: what came is something else. interrupted, and as `fetch`.
  result<pin> get(const digest& name, std::uint64_t size, const fetch_function& fetch, const std::function<bool()>& stop);
  /// On the disk now, with what is reserved for what is being fetched.
  std::uint64_t bytes() const;
  std::uint64_t bytes_max() const noexcept { return bytes_max_; }

private:
  struct entry {
    std::uint64_t size = 0, used = 0;
    std::uint32_t pins = 0;
    bool whole = false, busy = false;
  };
  content_cache(std::filesystem::path folder, std::uint64_t bytes_max) : folder_(std::move(folder)), bytes_max_(bytes_max) {}
  std::filesystem::path path_of(const digest& d, bool whole) const { return folder_ / (d.hex() + (whole ? "" : ".part")); }
  /// Removes entries until `size` more bytes fit; false if what is left is in use.
  bool make_room(std::uint64_t size, const digest& but);
  void drop(std::map<digest, entry>::iterator i);
  std::uint64_t sum() const;
  void unpin(const digest& d);
  status fetch_whole(const digest& name, std::uint64_t size, const fetch_function& fetch, const std::function<bool()>& stop);

  std::filesystem::path folder_;
  std::uint64_t bytes_max_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<digest, entry> entries_;
  std::uint64_t uses_ = 0;
};

} // namespace flywheel::transfer
