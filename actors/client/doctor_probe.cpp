#include "actors/client/doctor.hpp"
#include "actors/client/terminal.hpp"

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"
#include "cluster/base/text.hpp"
#include "gpu/device.hpp"
#include "nccl/library_nccl.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

std::string file_system_name(const fs::path& folder) {
  struct statfs s {};
  if (::statfs(folder.c_str(), &s) != 0)
    return "unknown";
  struct known {
    std::uint64_t magic;
    const char* name;
  };
  constexpr std::array names{known{0xef53, "ext4"}, known{0x58465342, "xfs"}, known{0x9123683e, "btrfs"}, known{0x01021994, "tmpfs"},
                             known{0x6969, "nfs"}, known{0xff534d42, "cifs"}, known{0xfe534d42, "cifs"}, known{0x65735546, "fuse"},
                             known{0x794c7630, "overlay"}, known{0x2fc12fc1, "zfs"}, known{0x0bd00bd0, "lustre"}};
  const auto magic = static_cast<std::uint64_t>(s.f_type) & 0xffffffffu;
  for (const auto& n : names)
    if (n.magic == magic)
      return n.name;
  std::array<char, 20> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), magic, 16).ptr;
  return "0x" + std::string(text.data(), end);
}

fs::path nearest_existing(fs::path folder) {
  std::error_code ignored;
  while (!fs::exists(folder, ignored) && folder.has_parent_path() && folder != folder.parent_path())
    folder = folder.parent_path();
  return folder;
}

/// Appends and fsyncs a file without a name in `folder`; it is gone when its descriptor is closed, whatever happens.
void probe_writing(const fs::path& folder, machine_facts& f) {
  int fd = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) { // a file system without O_TMPFILE
    std::string name = (folder / ".doctor-XXXXXX").string();
    fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd >= 0)
      ::unlink(name.c_str());
  }
  if (fd < 0) {
    f.state_problem = error_from_errno(errno, "write in " + folder.string()).to_string();
    return;
  }
  f.state_writable = true;
  std::array<char, 4096> block{};
  std::vector<std::int64_t> times;
  const auto& clock = system_clock();
  const auto start = clock.mono();
  while (times.size() < 15 && (clock.mono() - start) < std::chrono::milliseconds{500}) {
    const auto before = clock.mono();
    if (::write(fd, block.data(), block.size()) != static_cast<ssize_t>(block.size()) || ::fsync(fd) != 0)
      break;
    times.push_back((clock.mono() - before).count());
  }
  if (!times.empty()) {
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    f.fsync_median = std::chrono::nanoseconds{times[times.size() / 2]};
  }
  ::close(fd);
}

/// Bytes from a file that holds one number; nothing for "max" or no file.
std::optional<std::uint64_t> number_in(const char* file) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  return in >> value ? std::optional(value) : std::nullopt;
}

std::uint64_t memory_available() {
  std::ifstream in("/proc/meminfo");
  for (std::string key, unit; in >> key;) {
    std::uint64_t kib = 0;
    in >> kib;
    std::getline(in, unit);
    if (key == "MemAvailable:")
      return kib * 1024;
  }
  return 0;
}

void look_at_libraries(machine_facts& f) {
  // Asked of what this process has loaded, so that the answer is what it runs with.
  using text_function = const char* (*)();
  using number_function = const char* (*)(int);
  if (auto* p = ::dlsym(RTLD_DEFAULT, "sqlite3_libversion"))
    f.libraries.push_back(std::string("SQLite ") + reinterpret_cast<text_function>(p)());
  if (auto* p = ::dlsym(RTLD_DEFAULT, "OpenSSL_version"))
    f.libraries.push_back(reinterpret_cast<number_function>(p)(0));
  if (auto* p = ::dlsym(RTLD_DEFAULT, "zmq_version")) {
    int major = 0, minor = 0, patch = 0;
    reinterpret_cast<void (*)(int*, int*, int*)>(p)(&major, &minor, &patch);
    f.libraries.push_back("ZeroMQ " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch));
  }
  if (auto* p = ::dlsym(RTLD_DEFAULT, "H5get_libversion")) {
    unsigned major = 0, minor = 0, patch = 0;
    reinterpret_cast<int (*)(unsigned*, unsigned*, unsigned*)>(p)(&major, &minor, &patch);
    f.libraries.push_back("HDF5 " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch));
  }
  if (auto* p = ::dlsym(RTLD_DEFAULT, "XGBoostVersion")) {
    int major = 0, minor = 0, patch = 0;
    reinterpret_cast<void (*)(int*, int*, int*)>(p)(&major, &minor, &patch);
    f.libraries.push_back("XGBoost " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch));
  }
}

void look_at_gpus(machine_facts& f) {
  const auto report = gpu::find_devices();
  for (const auto& d : report.devices)
    if (d.kind == gpu::device_kind::cuda)
      f.gpus.push_back(d.name + ", " + format_bytes(d.memory_total) + " (" + format_bytes(d.memory_free) + " free), sm_" +
                       std::to_string(d.major) + std::to_string(d.minor));
  f.without_cuda = report.without_cuda;
  f.nccl_found = nccl::nccl_library::find().has_value();
  f.nccl = nccl::describe_nccl();
}

} // namespace

machine_facts look_at_machine(const fs::path& state_folder) {
  machine_facts f;
  utsname system{};
  if (::uname(&system) == 0)
    f.kernel = std::string(system.sysname) + " " + system.release + " " + system.machine;

  cpu_set_t cores;
  if (::sched_getaffinity(0, sizeof cores, &cores) == 0)
    f.cores_usable = static_cast<unsigned>(CPU_COUNT(&cores));
  f.cores_present = static_cast<unsigned>(std::max(0L, ::sysconf(_SC_NPROCESSORS_CONF)));
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2"))
    f.cpu_features.emplace_back("avx2");
  if (__builtin_cpu_supports("fma"))
    f.cpu_features.emplace_back("fma");
  if (__builtin_cpu_supports("avx512f"))
    f.cpu_features.emplace_back("avx512f");
#endif

  struct sysinfo memory {};
  if (::sysinfo(&memory) == 0)
    f.memory_total = static_cast<std::uint64_t>(memory.totalram) * memory.mem_unit;
  f.memory_available = memory_available();
  f.memory_limit = number_in("/sys/fs/cgroup/memory.max");

  std::error_code ignored;
  f.state_folder = state_folder.string();
  f.state_exists = fs::exists(state_folder, ignored);
  const auto existing = nearest_existing(fs::absolute(state_folder, ignored));
  f.file_system = file_system_name(existing);
  if (const auto space = fs::space(existing, ignored); !ignored) {
    f.disk_free = space.available;
    f.disk_total = space.capacity;
  }
  probe_writing(existing, f);

#ifdef SYS_landlock_create_ruleset
  constexpr std::uint32_t ask_version = 1; // LANDLOCK_CREATE_RULESET_VERSION
  if (const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, ask_version); abi > 0)
    f.landlock_abi = static_cast<int>(abi);
#endif

  f.gpu_device = ::access("/dev/nvidiactl", F_OK) == 0;
  if (f.gpu_device) // loading CUDA takes most of a second
    look_at_gpus(f);

  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    f.open_files_soft = files.rlim_cur;
    f.open_files_hard = files.rlim_max;
  }
  f.wall_seconds = system_clock().wall().ns / 1'000'000'000;
  timex adjustment{};
  f.clock_synchronised = ::adjtimex(&adjustment) >= 0 && (adjustment.status & STA_UNSYNC) == 0;
  for (const auto* name : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (auto value = environment(name); value && !value->empty()) {
      f.locale = *value;
      break;
    }
  look_at_libraries(f);
  return f;
}

} // namespace flywheel
