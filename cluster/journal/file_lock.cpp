#include "cluster/journal/file_lock.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
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

std::string proc_text(int pid, const char* name) {
  const auto handle = open_file("/proc/" + std::to_string(pid) + "/" + name, O_RDONLY);
  char bytes[4096];
  const auto n = handle ? ::read(handle->get(), bytes, sizeof bytes) : -1;
  return n > 0 ? std::string(bytes, static_cast<std::size_t>(n)) : std::string{};
}

/// A process that was killed first has the signal waiting for it, on a busy machine for a while; then it gives up its memory, and so its
/// command line; then its files and their locks.
bool is_ending(int pid) {
  if (pid <= 0)
    return false;
  if (proc_text(pid, "cmdline").empty())
    return true;
  const auto status = proc_text(pid, "status");
  for (const char* field : {"\nSigPnd:\t", "\nShdPnd:\t"})
    if (const auto at = status.find(field); at != std::string::npos)
      if ((std::strtoull(status.c_str() + at + std::strlen(field), nullptr, 16) >> (SIGKILL - 1) & 1) != 0)
        return true;
  return false;
}

/// A healthy owner is believed after 0.2 s: between those states there are moments that look like health.
constexpr int tries_min = 40, tries_while_ending = 1000;
constexpr std::chrono::milliseconds between_tries{5};

} // namespace

result<file_lock> file_lock::acquire(const std::filesystem::path& file, const std::filesystem::path& what) {
  FLYWHEEL_TRY(auto handle, open_file(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  // Tried a few times: holder() below takes the lock for an instant to see whether it is free. And for some seconds while its owner is
  // on its way out: whoever starts a killed head again does so at once, and a large process takes a while to end.
  bool locked = try_lock(handle.get(), LOCK_EX);
  for (int tries = 1, healthy = 0; !locked && tries < tries_while_ending && healthy < tries_min; ++tries) {
    healthy += is_ending(pid_in(handle.get())) ? 0 : 1;
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
