#include "cluster/journal/state_directory.hpp"

#include "cluster/base/text.hpp"
#include "cluster/content/digest.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/file_lock.hpp"

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view epoch_name = "epoch";
constexpr std::size_t epoch_bytes_max = 128;
/// Sockets live in <root>/run/ and the kernel takes short paths only; so much of one is left for the socket's name.
constexpr std::size_t socket_name_max = 32;
constexpr std::size_t root_bytes_max = sizeof(sockaddr_un::sun_path) - 1 - std::string_view{"/run/"}.size() -
                                       socket_name_max;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string home_folder() {
  if (auto home = variable("HOME"); !home.empty())
    return home;
  const passwd* user = ::getpwuid(::geteuid());
  return user != nullptr && user->pw_dir != nullptr ? user->pw_dir : "";
}

result<fs::path> absolute_path(const std::string& path) {
  std::error_code code;
  auto absolute = fs::absolute(path, code);
  if (code)
    return error_from_errno(code.value(), "find the folder " + path);
  absolute = absolute.lexically_normal();
  return absolute.has_filename() ? absolute : absolute.parent_path(); // without a trailing slash
}

/// The file of the epoch: "<n> <first 16 digits of SHA-256 of n>". A person who must set it may write "<n>" alone.
std::string epoch_text(std::uint64_t epoch) {
  const auto n = std::to_string(epoch);
  return n + " " + digest_of(n).hex().substr(0, 16) + "\n";
}

result<std::uint64_t> read_epoch(const state_layout& layout) {
  const auto path = layout.root / epoch_name;
  const auto unusable = [&](std::string what) {
    return error{errc::checksum_mismatch, std::move(what), path.string(),
                 "write a number greater than every epoch in the journal into this file, alone on a line"};
  };
  const auto text = read_file(path, epoch_bytes_max);
  if (!text && text.error().code == errc::not_found) {
    std::error_code ignored;
    if (fs::exists(layout.root / "journal.db", ignored)) // an epoch that starts over would let old owners act again
      return unusable("the epoch is missing although there is a journal");
    return std::uint64_t{0};
  }
  if (!text)
    return text.error();
  const auto line = trim(*text);
  std::uint64_t epoch = 0;
  const auto [end, code] = std::from_chars(line.data(), line.data() + line.size(), epoch);
  const bool number_only = code == std::errc{} && end == line.data() + line.size();
  if (!number_only && (code != std::errc{} || *text != epoch_text(epoch)))
    return unusable("the epoch is damaged");
  return epoch;
}

status make_private_folder(const fs::path& path) {
  if (::mkdir(path.c_str(), 0700) == 0)
    return success();
  if (errno != EEXIST)
    return error_from_errno(errno, "create folder " + path.string());
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0)
    return error_from_errno(errno, "stat " + path.string());
  if (!S_ISDIR(about.st_mode))
    return error{errc::already_exists, path.string() + " is not a folder"};
  if (about.st_uid != ::geteuid())
    return error{errc::permission_denied, path.string() + " belongs to another user", {},
                 "name a folder of your own with --state"};
  if ((about.st_mode & 0777) != 0700 && ::chmod(path.c_str(), 0700) != 0)
    return error_from_errno(errno, "chmod 700 " + path.string());
  return success();
}

/// Guards against `--state ~`: a folder full of something else is not taken over.
status check_is_ours(const fs::path& root) {
  std::error_code code;
  fs::directory_iterator i{root, code};
  if (code == std::errc::no_such_file_or_directory || (!code && i == fs::directory_iterator{}))
    return success();
  if (code)
    return error_from_errno(code.value(), "list " + root.string());
  if (fs::exists(root / "lock", code) || fs::exists(root / "journal.db", code))
    return success();
  return error{errc::invalid_argument, root.string() + " is not empty and not a state directory of Flywheel", {},
               "name a new or an empty folder with --state"};
}

status empty_folder(const fs::path& folder) {
  std::error_code code;
  for (fs::directory_iterator i{folder, code}; !code && i != fs::directory_iterator{}; i.increment(code))
    if (fs::remove_all(i->path(), code); code)
      break;
  return code ? status{error_from_errno(code.value(), "empty " + folder.string())} : success();
}

} // namespace

result<fs::path> default_state_path(const std::string& explicit_path) {
  if (!explicit_path.empty())
    return absolute_path(explicit_path);
  if (const auto path = variable("FLYWHEEL_STATE"); !path.empty())
    return absolute_path(path);
  // The XDG rule: a path that is not absolute is ignored.
  if (const auto path = variable("XDG_STATE_HOME"); path.starts_with('/'))
    return absolute_path(path + "/flywheel");
  const auto home = home_folder();
  if (home.empty())
    return error{errc::invalid_argument, "there is no home folder to keep the state in", {},
                 "name a folder with --state or FLYWHEEL_STATE"};
  return absolute_path(home + "/.local/state/flywheel");
}

result<state_directory> state_directory::own(const fs::path& root) {
  FLYWHEEL_TRY(const auto path, absolute_path(root.string()));
  if (path.native().size() > root_bytes_max)
    return error{errc::too_large,
                 "the path of the state directory has " + std::to_string(path.native().size()) +
                     " bytes, and sockets in it allow " + std::to_string(root_bytes_max) + ": " + path.string(),
                 {}, "name a shorter one with --state, or link to it from a shorter one"};
  FLYWHEEL_CHECK(check_is_ours(path));
  std::error_code code;
  if (path.has_parent_path())
    fs::create_directories(path.parent_path(), code);
  if (code)
    return error_from_errno(code.value(), "create folder " + path.parent_path().string());
  FLYWHEEL_CHECK(make_private_folder(path));

  state_directory d;
  d.layout_.root = path;
  FLYWHEEL_TRY(d.lock_, file_lock::acquire(path / "lock", path));
  for (const auto& folder : {d.layout_.data(), d.layout_.sealed(), d.layout_.trials(), d.layout_.models(),
                             d.layout_.run(), d.layout_.log()})
    FLYWHEEL_CHECK(make_private_folder(folder));
  FLYWHEEL_CHECK(empty_folder(d.layout_.run()));
  FLYWHEEL_TRY([[maybe_unused]] const auto swept, sweep_temporaries(path));
  FLYWHEEL_TRY(const auto last, read_epoch(d.layout_));
  d.epoch_ = last + 1;
  FLYWHEEL_CHECK(publish_file(path / epoch_name, epoch_text(d.epoch_)));
  return d;
}

int owner_pid(const fs::path& root) { return file_lock::holder(root / "lock"); }

} // namespace flywheel
