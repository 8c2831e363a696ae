#include "cluster/content/file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel {

file_handle::~file_handle() {
  if (descriptor_ >= 0)
    ::close(descriptor_);
}

status file_handle::close(const std::filesystem::path& name) {
  const int descriptor = release();
  // Linux frees the descriptor even when close is interrupted: never repeat it.
  if (descriptor >= 0 && ::close(descriptor) != 0 && errno != EINTR)
    return error_from_errno(errno, "close " + name.string());
  return success();
}

result<file_handle> open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  for (;;) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (descriptor >= 0)
      return file_handle{descriptor};
    if (errno != EINTR)
      return error_from_errno(errno, "open " + path.string());
  }
}

result<file_handle> open_regular_file(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe without a writer must fail below, not hang here. It means nothing for regular files.
  FLYWHEEL_TRY(auto file, open_file(path, O_RDONLY | O_NONBLOCK));
  struct stat about {};
  if (::fstat(file.get(), &about) != 0)
    return error_from_errno(errno, "stat " + path.string());
  if (!S_ISREG(about.st_mode))
    return error{errc::invalid_argument, path.string() + " is not a regular file"};
  return file;
}

result<std::size_t> read_some(int descriptor, char* to, std::size_t size, const std::filesystem::path& name) {
  for (;;) {
    const auto got = ::read(descriptor, to, size);
    if (got >= 0)
      return static_cast<std::size_t>(got);
    if (errno != EINTR)
      return error_from_errno(errno, "read " + name.string());
  }
}

status write_all(int descriptor, std::string_view bytes, const std::filesystem::path& name) {
  while (!bytes.empty()) {
    const auto put = ::write(descriptor, bytes.data(), bytes.size());
    if (put >= 0)
      bytes.remove_prefix(static_cast<std::size_t>(put));
    else if (errno != EINTR)
      return error_from_errno(errno, "write " + name.string());
  }
  return success();
}

status sync_file(int descriptor, const std::filesystem::path& name) {
  // Not repeated on EIO: after a failed fsync the kernel may have dropped the pages, and a second one would lie.
  while (::fsync(descriptor) != 0)
    if (errno != EINTR)
      return error_from_errno(errno, "fsync " + name.string());
  return success();
}

status sync_folder(const std::filesystem::path& folder) {
  FLYWHEEL_TRY(const auto handle, open_file(folder, O_RDONLY | O_DIRECTORY));
  return sync_file(handle.get(), folder);
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  const auto parent = path.parent_path();
  return parent.empty() ? std::filesystem::path{"."} : parent;
}

} // namespace flywheel
