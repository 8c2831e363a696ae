#include "cluster/transfer/folder_walk.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel::transfer {
namespace {

error in_the_way(int errno_value, std::string_view name) {
  const auto shown = printable(name);
  if (errno_value == ELOOP || errno_value == ENOTDIR || errno_value == EMLINK)
    return error{errc::not_allowed, "a link, or a file where a folder should be, is in the way", shown, "links are not carried between nodes; put the file itself there"};
  return error_from_errno(errno_value, "open " + shown);
}

int open_again(int at, const char* name, int flags, unsigned mode) {
  int fd = -1;
  do
    fd = ::openat(at, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

status walk(int folder, const std::string& prefix, std::size_t depth, std::vector<found_file>& found) {
  if (depth > name_depth_max)
    return error{errc::too_large, "folders nested deeper than " + std::to_string(name_depth_max), printable(prefix)};
  const int again = open_again(folder, ".", O_RDONLY | O_DIRECTORY, 0);
  if (again < 0)
    return error_from_errno(errno, "open " + printable(prefix));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries{::fdopendir(again), ::closedir};
  if (!entries) {
    ::close(again);
    return error_from_errno(errno, "list " + printable(prefix));
  }
  for (errno = 0; const auto* e = ::readdir(entries.get()); errno = 0) {
    const std::string part = e->d_name;
    if (part == "." || part == ".." || is_temporary(part))
      continue;
    const auto name = prefix.empty() ? part : prefix + "/" + part;
    FLYWHEEL_CHECK(check_name(name));
    struct stat about {};
    if (::fstatat(folder, part.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT)
        continue; // removed meanwhile
      return error_from_errno(errno, "stat " + printable(name));
    }
    if (S_ISDIR(about.st_mode)) {
      const file_handle sub{open_again(folder, part.c_str(), O_RDONLY | O_DIRECTORY, 0)};
      if (sub.get() < 0)
        return in_the_way(errno, name);
      FLYWHEEL_CHECK(walk(sub.get(), name, depth + 1, found));
    } else if (S_ISREG(about.st_mode)) {
      if (found.size() == files_max)
        return error{errc::too_large, "more than " + std::to_string(files_max) + " files", printable(prefix)};
      found.push_back({name, {about.st_dev, about.st_ino, static_cast<std::uint64_t>(about.st_size), about.st_mtim.tv_sec * 1'000'000'000 + about.st_mtim.tv_nsec}});
    } else {
      return error{errc::not_allowed, "neither a file nor a folder", printable(name), "links and devices are not carried between nodes"};
    }
  }
  if (errno != 0)
    return error_from_errno(errno, "list " + printable(prefix));
  return success();
}

} // namespace

result<file_state> state_of(int descriptor, const std::string& name) {
  struct stat about {};
  if (::fstat(descriptor, &about) != 0)
    return error_from_errno(errno, "stat " + name);
  if (!S_ISREG(about.st_mode))
    return error{errc::not_allowed, "not a regular file", name};
  return file_state{about.st_dev, about.st_ino, static_cast<std::uint64_t>(about.st_size), about.st_mtim.tv_sec * 1'000'000'000 + about.st_mtim.tv_nsec};
}

result<file_handle> open_folder(const std::filesystem::path& path) { return open_file(path, O_RDONLY | O_DIRECTORY); }

result<file_handle> open_folder_beneath(int root, std::string_view name, bool make) {
  FLYWHEEL_CHECK(check_name(name));
  file_handle at{open_again(root, ".", O_RDONLY | O_DIRECTORY, 0)};
  for (const auto view : split(name, '/')) {
    const std::string part{view};
    if (make && ::mkdirat(at.get(), part.c_str(), 0755) != 0 && errno != EEXIST)
      return error_from_errno(errno, "create folder " + printable(name));
    file_handle next{open_again(at.get(), part.c_str(), O_RDONLY | O_DIRECTORY, 0)};
    if (next.get() < 0)
      return in_the_way(errno, name);
    at = std::move(next);
  }
  return at;
}

result<file_handle> open_beneath(int root, std::string_view name, int flags) {
  FLYWHEEL_CHECK(check_name(name));
  const auto [folder, last] = split_name(name);
  file_handle in;
  if (!folder.empty()) {
    FLYWHEEL_TRY(in, open_folder_beneath(root, folder, (flags & O_CREAT) != 0));
  }
  // O_NONBLOCK: a pipe must fail below, not hang here.
  file_handle file{open_again(folder.empty() ? root : in.get(), std::string{last}.c_str(), flags | O_NONBLOCK, 0644)};
  if (file.get() < 0)
    return in_the_way(errno, name);
  FLYWHEEL_CHECK([&]() -> status {
    const auto s = state_of(file.get(), printable(name));
    return s ? success() : status{s.error()};
  }());
  return file;
}

result<std::vector<found_file>> files_beneath(int root) {
  std::vector<found_file> found;
  FLYWHEEL_CHECK(walk(root, "", 0, found));
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return found;
}

result<digest> digest_of_descriptor(int descriptor, const std::string& name, const std::function<bool()>& stop) {
  hasher h;
  std::string buffer(std::size_t{1} << 20, '\0');
  for (std::uint64_t at = 0;;) {
    if (stop && stop())
      return error{errc::interrupted, "stopped while it was checked", name};
    const auto got = ::pread(descriptor, buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return error_from_errno(errno, "read " + name);
    if (got == 0)
      return h.finish();
    h.update(std::string_view{buffer.data(), static_cast<std::size_t>(got)});
    at += static_cast<std::uint64_t>(got);
  }
}

std::pair<std::string_view, std::string_view> split_name(std::string_view name) {
  const auto slash = name.rfind('/');
  if (slash == std::string_view::npos)
    return {{}, name};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

bool is_temporary(std::string_view name) { return name.find(".tmp-") != std::string_view::npos; }

} // namespace flywheel::transfer
