#include "cluster/journal/file_lock.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fcntl.h>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

namespace flywheel {
namespace {

bool try_lock(int descriptor, int how) {
  while (::flock(descriptor, how | LOCK_NB) != 0)
    if (errno != EINTR)
      return false;
  return true;
}

int pid_in(int descriptor) {
  std::array<char, 16> text{};
  const auto got = ::pread(descriptor, text.data(), text.size(), 0);
  int pid = 0;
  if (got > 0)
    std::from_chars(text.data(), text.data() + got, pid);
  return pid;
}

/// A process that was killed has given up its memory, and so its command line, before its files and their locks.
bool is_ending(int pid) {
  if (pid <= 0)
    return false;
  const auto handle = open_file("/proc/" + std::to_string(pid) + "/cmdline", O_RDONLY);
  char first = 0;
  return !handle || ::read(handle->get(), &first, 1) <= 0;
}

constexpr int tries_min = 5, tries_while_ending = 1000;
constexpr std::chrono::milliseconds between_tries{5};

} // namespace

result<file_lock> file_lock::acquire(const std::filesystem::path& file, const std::filesystem::path& what) {
  FLYWHEEL_TRY(auto handle, open_file(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  // Tried a few times: holder() below takes the lock for an instant to see whether it is free. And for some seconds while its owner is
  // on its way out: whoever starts a killed head again does so at once, and a large process takes a while to end.
  bool locked = try_lock(handle.get(), LOCK_EX);
  for (int tries = 1; !locked && (tries < tries_min || (tries < tries_while_ending && is_ending(pid_in(handle.get())))); ++tries) {
    std::this_thread::sleep_for(between_tries);
    locked = try_lock(handle.get(), LOCK_EX);
  }
  if (!locked) {
    const int pid = pid_in(handle.get());
    return error{errc::state_locked,
                 what.string() + " is in use by process " + (pid > 0 ? std::to_string(pid) : std::string{"(unknown)"}),
                 {}, "stop that process, or name another folder with --state"};
  }
  const auto pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(handle.get(), 0) != 0)
    return error_from_errno(errno, "truncate " + file.string());
  FLYWHEEL_CHECK(write_all(handle.get(), pid, file));
  return file_lock{std::move(handle)};
}

int file_lock::holder(const std::filesystem::path& file) {
  const auto handle = open_file(file, O_RDONLY);
  if (!handle || try_lock(handle->get(), LOCK_SH))
    return 0;
  return pid_in(handle->get());
}

} // namespace flywheel
