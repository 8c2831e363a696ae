#pragma once
// A lock between processes that dies with its holder, and says who that is.

#include "cluster/content/file.hpp"

namespace flywheel {

/// Holds flock(LOCK_EX) on a file for its lifetime; the file itself stays, with the holder's pid in it.
class file_lock {
public:
  file_lock() = default; ///< holds nothing
  /// state_locked, naming the holder's pid, if another holder lives; `what` is said to be locked, e.g. the folder. Waits up to 5 s for
  /// one that is ending.
  static result<file_lock> acquire(const std::filesystem::path& file, const std::filesystem::path& what);
  /// The pid in `file` if somebody holds its lock now, else 0.
  static int holder(const std::filesystem::path& file);

private:
  explicit file_lock(file_handle file) : file_(std::move(file)) {}
  file_handle file_;
};

} // namespace flywheel
