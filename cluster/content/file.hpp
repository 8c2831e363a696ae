#pragma once
// The few system calls on files that content, security and journal share, with their errors told for people.

#include "cluster/base/error.hpp"

#include <cstddef>
#include <filesystem>
#include <string_view>
#include <utility>

namespace flywheel {

/// Owns a file descriptor; closes it on destruction. Move-only.
class file_handle {
public:
  file_handle() = default;
  explicit file_handle(int descriptor) noexcept : descriptor_(descriptor) {}
  file_handle(file_handle&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  file_handle& operator=(file_handle&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~file_handle();
  int get() const noexcept { return descriptor_; }
  /// Gives the descriptor to the caller.
  int release() noexcept { return std::exchange(descriptor_, -1); }
  /// Closes now and tells whether that went well: on some file systems the last write fails only here.
  status close(const std::filesystem::path& name);

private:
  int descriptor_ = -1;
};

/// open(2) with O_CLOEXEC, retried when interrupted.
result<file_handle> open_file(const std::filesystem::path& path, int flags, unsigned mode = 0644);
/// For reading; invalid_argument if it is a folder, a pipe or a device (which could block or never end).
result<file_handle> open_regular_file(const std::filesystem::path& path);
/// At most `size` bytes; 0 at the end of the file. `name` is for the error only.
result<std::size_t> read_some(int descriptor, char* to, std::size_t size, const std::filesystem::path& name);
/// All of `bytes`, or an error (disk_full, io_failed).
status write_all(int descriptor, std::string_view bytes, const std::filesystem::path& name);
status sync_file(int descriptor, const std::filesystem::path& name);
/// Makes creations, renames and removals in `folder` durable.
status sync_folder(const std::filesystem::path& folder);
/// The folder a file lies in; "." for a bare name.
std::filesystem::path folder_of(const std::filesystem::path& path);

} // namespace flywheel
