#include "cluster/worker/worker_sandbox.hpp"

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace flywheel {
namespace {

// The kernel's numbers, not <linux/landlock.h>: the header of the build machine may be older than the kernel it runs on.
constexpr long sys_create_ruleset = 444, sys_add_rule = 445, sys_restrict_self = 446;
constexpr std::uint32_t create_ruleset_version = 1;
constexpr int rule_path_beneath = 1;
struct ruleset_attributes {
  std::uint64_t handled_access_fs, handled_access_net, scoped;
};
struct [[gnu::packed]] path_beneath {
  std::uint64_t allowed_access;
  std::int32_t parent_fd;
};
constexpr std::uint64_t fs_execute = 1, fs_write_file = 1 << 1, fs_read_file = 1 << 2, fs_read_dir = 1 << 3,
                        fs_refer = 1 << 13, fs_truncate = 1 << 14, fs_ioctl_dev = 1 << 15;
constexpr std::uint64_t fs_of_version_1 = (1 << 13) - 1;
constexpr std::uint64_t fs_for_files = fs_execute | fs_write_file | fs_read_file | fs_truncate | fs_ioctl_dev;
constexpr std::uint64_t scope_abstract_socket = 1, scope_signal = 2;

std::uint64_t rights_of_version(int version) {
  std::uint64_t rights = fs_of_version_1;
  if (version >= 2)
    rights |= fs_refer;
  if (version >= 3)
    rights |= fs_truncate;
  if (version >= 5)
    rights |= fs_ioctl_dev;
  return rights;
}

enum class missing { is_error, is_fine };

status allow(int ruleset, const std::filesystem::path& path, std::uint64_t rights, missing when_missing) {
  const owned_fd fd{open(path.c_str(), O_PATH | O_CLOEXEC)};
  if (!fd) {
    if (when_missing == missing::is_fine)
      return success();
    return error_from_errno(errno, "opening " + path.string() + " for a worker's sandbox");
  }
  struct stat info {};
  if (fstat(fd.get(), &info) != 0)
    return error_from_errno(errno, "looking at " + path.string() + " for a worker's sandbox");
  if (!S_ISDIR(info.st_mode))
    rights &= fs_for_files;
  const path_beneath rule{rights, fd.get()};
  if (syscall(sys_add_rule, ruleset, rule_path_beneath, &rule, 0) != 0)
    return error_from_errno(errno, "adding " + path.string() + " to a worker's sandbox");
  return success();
}

} // namespace

owned_fd& owned_fd::operator=(owned_fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}
int owned_fd::release() noexcept {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}
void owned_fd::reset() noexcept {
  if (fd_ >= 0)
    close(fd_);
  fd_ = -1;
}

result<int> landlock_version() {
  const long version = syscall(sys_create_ruleset, nullptr, 0, create_ruleset_version);
  if (version > 0)
    return static_cast<int>(version);
  if (errno == EOPNOTSUPP)
    return error{errc::unsupported, "Landlock is switched off on this machine", {}, "boot with lsm=landlock,..."};
  if (errno == ENOSYS)
    return error{errc::unsupported, "this kernel has no Landlock", {}, "use Linux 5.13 or newer"};
  return error_from_errno(errno, "asking for Landlock");
}

result<owned_fd> make_ruleset(const sandbox_rules& rules, const std::vector<std::string>& command) {
  FLYWHEEL_TRY(const int version, landlock_version());
  const auto all = rights_of_version(version);
  const ruleset_attributes attributes{all, 0, version >= 6 ? scope_abstract_socket | scope_signal : 0};
  // An older kernel knows a shorter struct; it accepts a longer one only with zeros behind, so give what it knows.
  const std::size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
  owned_fd ruleset{static_cast<int>(syscall(sys_create_ruleset, &attributes, size, 0))};
  if (!ruleset)
    return error_from_errno(errno, "making a worker's sandbox");

  const std::uint64_t read = fs_read_file | fs_read_dir, run = read | fs_execute;
  for (const auto* path : {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt"})
    FLYWHEEL_CHECK(allow(ruleset.get(), path, run, missing::is_fine));
  // /proc shows a confined process nothing secret of others: Landlock refuses ptrace-level access outside the sandbox.
  for (const auto* path : {"/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
                           "/etc/alternatives", "/proc", "/sys/devices", "/sys/fs/cgroup"})
    FLYWHEEL_CHECK(allow(ruleset.get(), path, read, missing::is_fine));
  for (const auto* path : {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/nvidiactl",
                           "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"})
    FLYWHEEL_CHECK(allow(ruleset.get(), path, (read | fs_write_file | fs_ioctl_dev) & all, missing::is_fine));
  for (int gpu = 0; gpu < 16; ++gpu)
    FLYWHEEL_CHECK(allow(ruleset.get(), "/dev/nvidia" + std::to_string(gpu), (read | fs_write_file | fs_ioctl_dev) & all,
                         missing::is_fine));

  for (std::size_t i = 0; i < command.size(); ++i) {
    std::error_code ignored;
    const auto path = std::filesystem::weakly_canonical(command[i], ignored);
    if (path.empty() || !std::filesystem::is_regular_file(path, ignored))
      continue;
    FLYWHEEL_CHECK(allow(ruleset.get(), path, i == 0 ? fs_execute | fs_read_file : fs_read_file, missing::is_fine));
    if (i == 0 && path.parent_path().filename() == "bin") // a bundle carries its libraries beside its programs
      FLYWHEEL_CHECK(allow(ruleset.get(), path.parent_path().parent_path() / "lib", run, missing::is_fine));
  }
  for (const auto& path : rules.readable)
    FLYWHEEL_CHECK(allow(ruleset.get(), path, read, missing::is_error));
  for (const auto& path : rules.writable)
    FLYWHEEL_CHECK(allow(ruleset.get(), path, all & ~fs_execute, missing::is_error));
  return ruleset;
}

int enter_ruleset(int ruleset_fd) noexcept {
  // For a node run by root: its workers keep root's access to files, which Landlock then narrows, and lose every other
  // capability. Measured on Linux 6.18: with CAP_PERFMON a confined root still reads /proc/<node>/environ.
  constexpr std::uint64_t kept = 0b11111 /* chown, dac_override, dac_read_search, fowner, fsetid */ | (1u << 14) /* ipc_lock */;
  for (unsigned capability = 0; capability < 64; ++capability)
    if (((kept >> capability) & 1) == 0)
      prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); // fails without root, who then has none to lose
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return errno;
  if (syscall(sys_restrict_self, ruleset_fd, 0) != 0)
    return errno;
  return 0;
}

} // namespace flywheel
