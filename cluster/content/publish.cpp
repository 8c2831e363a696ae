#include "cluster/content/publish.hpp"

#include "cluster/content/file.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view temporary_mark = ".tmp-";

/// A name beside `path` (the same file system, so that rename is atomic) that no other process or thread uses.
fs::path temporary_beside(const fs::path& path) {
  static std::atomic<std::uint64_t> counter{0};
  auto name = path.filename().string();
  name += temporary_mark;
  name += std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1));
  return folder_of(path) / name;
}

/// Removes what lies at `path` unless the publication came through; also when `fill` throws.
class cleanup {
public:
  explicit cleanup(fs::path path) : path_(std::move(path)) {}
  ~cleanup() {
    std::error_code ignored;
    if (!path_.empty())
      fs::remove_all(path_, ignored);
  }
  cleanup(const cleanup&) = delete;
  cleanup& operator=(const cleanup&) = delete;
  void dismiss() { path_.clear(); }

private:
  fs::path path_;
};

status check_target(const fs::path& path) {
  if (!path.has_filename() || path.filename() == "." || path.filename() == "..")
    return error{errc::invalid_argument, "'" + path.string() + "' does not name a file or folder to publish"};
  return success();
}

status rename_over(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    return error_from_errno(errno, "rename to " + to.string());
  return success();
}

status rename_new(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0)
    return success();
  if (errno == EEXIST || errno == ENOTEMPTY)
    return error{errc::already_exists, to.string(), {}, "published content never changes; publish under a new name"};
  if (errno != EINVAL && errno != ENOSYS)
    return error_from_errno(errno, "rename to " + to.string());
  // File systems without RENAME_NOREPLACE (some network ones): rename(2) refuses a folder that is not empty, and an
  // empty one is no publication.
  struct stat about {};
  if (::lstat(to.c_str(), &about) == 0)
    return error{errc::already_exists, to.string(), {}, "published content never changes; publish under a new name"};
  return rename_over(from, to);
}

status sync_tree(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> folders;
  for (fs::directory_iterator i{folder, code}, end; i != end; i.increment(code)) {
    if (code)
      break;
    struct stat about {};
    if (::lstat(i->path().c_str(), &about) != 0)
      return error_from_errno(errno, "stat " + i->path().string());
    if (S_ISDIR(about.st_mode)) {
      folders.push_back(i->path());
    } else if (S_ISREG(about.st_mode)) {
      FLYWHEEL_TRY(const auto file, open_file(i->path(), O_RDONLY));
      FLYWHEEL_CHECK(sync_file(file.get(), i->path()));
    } else if (!S_ISLNK(about.st_mode)) {
      return error{errc::unsupported, i->path().string() + " is neither a file nor a folder and cannot be published"};
    }
  }
  if (code)
    return error_from_errno(code.value(), "list " + folder.string());
  for (const auto& sub : folders)
    FLYWHEEL_CHECK(sync_tree(sub));
  return sync_folder(folder);
}

} // namespace

status publish_with(const fs::path& path, const std::function<status(const fs::path& temporary)>& fill) {
  FLYWHEEL_CHECK(check_target(path));
  const auto temporary = temporary_beside(path);
  cleanup guard{temporary};
  FLYWHEEL_CHECK(fill(temporary));
  {
    FLYWHEEL_TRY(auto file, open_regular_file(temporary));
    FLYWHEEL_CHECK(sync_file(file.get(), temporary));
    FLYWHEEL_CHECK(file.close(temporary));
  }
  FLYWHEEL_CHECK(rename_over(temporary, path));
  guard.dismiss();
  return sync_folder(folder_of(path));
}

status publish_file(const fs::path& path, std::string_view bytes) {
  return publish_with(path, [&](const fs::path& temporary) -> status {
    FLYWHEEL_TRY(auto file, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
    FLYWHEEL_CHECK(write_all(file.get(), bytes, path));
    return file.close(path);
  });
}

status publish_folder(const fs::path& path, const std::function<status(const fs::path& temporary)>& fill) {
  FLYWHEEL_CHECK(check_target(path));
  struct stat about {};
  if (::lstat(path.c_str(), &about) == 0) // spares filling what cannot be published; rename_new decides
    return error{errc::already_exists, path.string(), {}, "published content never changes; publish under a new name"};
  const auto temporary = temporary_beside(path);
  if (::mkdir(temporary.c_str(), 0755) != 0)
    return error_from_errno(errno, "create folder " + temporary.string());
  cleanup guard{temporary};
  FLYWHEEL_CHECK(fill(temporary));
  FLYWHEEL_CHECK(sync_tree(temporary));
  FLYWHEEL_CHECK(rename_new(temporary, path));
  guard.dismiss();
  return sync_folder(folder_of(path));
}

result<std::string> read_file(const fs::path& path, std::size_t bytes_max) {
  FLYWHEEL_TRY(const auto file, open_regular_file(path));
  struct stat about {};
  if (::fstat(file.get(), &about) != 0)
    return error_from_errno(errno, "stat " + path.string());
  const auto too_large = [&] {
    return error{errc::too_large, path.string() + " is larger than " + std::to_string(bytes_max) + " bytes"};
  };
  const auto size = static_cast<std::uint64_t>(about.st_size);
  if (size > bytes_max)
    return too_large();
  std::string bytes;
  std::size_t filled = 0;
  // One byte more than announced, so that a file that grew meanwhile is read on, but never beyond the limit.
  bytes.resize(static_cast<std::size_t>(size) + 1);
  for (;;) {
    FLYWHEEL_TRY(const auto got, read_some(file.get(), bytes.data() + filled, bytes.size() - filled, path));
    filled += got;
    if (got == 0)
      break;
    if (filled > bytes_max)
      return too_large();
    if (filled == bytes.size())
      bytes.resize(filled + std::clamp<std::size_t>(filled, 4096, std::size_t{1} << 20));
  }
  bytes.resize(filled);
  return bytes;
}

result<std::size_t> sweep_temporaries(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> leftovers;
  fs::recursive_directory_iterator i{folder, fs::directory_options::none, code}; // does not follow links
  for (; !code && i != fs::recursive_directory_iterator{}; i.increment(code))
    if (i->path().filename().string().find(temporary_mark) != std::string::npos) {
      leftovers.push_back(i->path());
      i.disable_recursion_pending();
    }
  if (code)
    return error_from_errno(code.value(), "list " + folder.string());
  for (const auto& path : leftovers)
    if (fs::remove_all(path, code); code)
      return error_from_errno(code.value(), "remove " + path.string());
  if (!leftovers.empty())
    FLYWHEEL_CHECK(sync_folder(folder));
  return leftovers.size();
}

} // namespace flywheel
