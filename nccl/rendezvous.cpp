#include "nccl/rendezvous.hpp"

#include "cluster/base/ids.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel::nccl {
namespace {

constexpr std::size_t value_bytes_max = 64 * 1024;

result<std::string> read_all(const descriptor& file, const std::string& path) {
  std::string text;
  std::array<char, 4096> buffer;
  while (true) {
    const auto n = ::pread(file.get(), buffer.data(), buffer.size(), static_cast<off_t>(text.size()));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return error_from_errno(errno, "read " + path);
    if (n == 0)
      return text;
    text.append(buffer.data(), static_cast<std::size_t>(n));
    if (text.size() > value_bytes_max)
      return error{errc::too_large, path + " is larger than a rendezvous value can be"};
  }
}

status write_all(const descriptor& file, std::string_view text, const std::string& path) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto n = ::pwrite(file.get(), text.data() + at, text.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return error_from_errno(errno, "write " + path);
    at += static_cast<std::size_t>(n);
  }
  return success();
}

} // namespace

status enter_generation(const gang_record& record) {
  FLYWHEEL_CHECK(check(record));
  struct stat where {};
  if (::stat(record.folder.c_str(), &where) != 0)
    return error_from_errno(errno, "the gang's folder " + record.folder);
  if (!S_ISDIR(where.st_mode) || where.st_uid != ::geteuid() || (where.st_mode & 0077U) != 0)
    return error{errc::permission_denied, record.folder + " is not a private folder of this user", {}, "chmod 700 " + record.folder};
  const auto path = record.folder + "/" + record.gang + ".generation";
  const descriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file)
    return error_from_errno(errno, "open " + path);
  while (::flock(file.get(), LOCK_EX) != 0) // held only for the lines below, by any rank
    if (errno != EINTR)
      return error_from_errno(errno, "lock " + path);
  FLYWHEEL_TRY(const std::string text, read_all(file, path));
  std::uint64_t newest = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), newest);
  if (!text.empty() && (failure != std::errc{} || end != text.data() + text.size()))
    return error{errc::invalid_format, path + " does not hold a generation"};
  FLYWHEEL_CHECK(admit_generation(record.gang, newest, record.generation));
  if (record.generation > newest)
    FLYWHEEL_CHECK(write_all(file, std::to_string(record.generation), path)); // numbers only grow, and so does their length
  return success();
}

result<std::string> put_first(const std::filesystem::path& folder, std::string_view name, std::string_view value) {
  if (!is_valid_name(name) || value.size() > value_bytes_max)
    return error{errc::invalid_argument, "a rendezvous value needs a name and at most 64 KiB"};
  const auto path = (folder / name).string();
  auto temporary = (folder / ".value-XXXXXX").string();
  const descriptor file{::mkostemp(temporary.data(), O_CLOEXEC)};
  if (!file)
    return error_from_errno(errno, "make a file in " + folder.string());
  auto written = write_all(file, value, temporary);
  const int linked = written ? ::link(temporary.c_str(), path.c_str()) : 0; // fails if it exists: the first writer wins
  const int why = errno;
  ::unlink(temporary.c_str());
  FLYWHEEL_CHECK(std::move(written));
  if (linked != 0 && why != EEXIST)
    return error_from_errno(why, "link " + path);
  FLYWHEEL_TRY(auto found, look_up(folder, name));
  if (!found)
    return error{errc::not_found, path + " was removed"};
  return std::move(*found);
}

result<std::optional<std::string>> look_up(const std::filesystem::path& folder, std::string_view name) {
  const auto path = (folder / name).string();
  const descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  if (!file && errno == ENOENT)
    return std::optional<std::string>{};
  if (!file)
    return error_from_errno(errno, "open " + path);
  FLYWHEEL_TRY(auto text, read_all(file, path));
  return std::optional<std::string>{std::move(text)};
}

result<std::string> await_value(const std::filesystem::path& folder, std::string_view name, mono_time deadline) {
  FLYWHEEL_TRY(const auto watch, folder_watch::on(folder)); // before the first look, so that nothing falls in between
  while (true) {
    FLYWHEEL_TRY(auto found, look_up(folder, name));
    if (found)
      return std::move(*found);
    if (system_clock().mono() >= deadline)
      return error{errc::timed_out, "nobody left " + std::string{name} + " in " + folder.string()};
    watch.wait(deadline);
  }
}

result<folder_watch> folder_watch::on(const std::filesystem::path& folder) {
  descriptor events{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
  if (!events)
    return error_from_errno(errno, "inotify");
  if (::inotify_add_watch(events.get(), folder.c_str(), IN_CREATE | IN_MOVED_TO) < 0)
    return error_from_errno(errno, "watch " + folder.string());
  return folder_watch{std::move(events)};
}

void folder_watch::wait(mono_time deadline) const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - system_clock().mono()).count();
  pollfd ready{events_.get(), POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 50))) > 0) {
    std::array<char, 4096> ignored;
    while (::read(events_.get(), ignored.data(), ignored.size()) > 0) {
    }
  }
}

} // namespace flywheel::nccl
