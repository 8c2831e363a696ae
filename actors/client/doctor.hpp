#pragma once
// `flywheel doctor`: looks at the machine and the state folder, then judges. Looking and judging are apart, so that every
// verdict has a test without a machine of that kind.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// What was seen. Unknown is an empty optional, never a made-up value.
struct machine_facts {
  std::string kernel;                             ///< "Linux 6.1.0 x86_64"
  unsigned cores_usable = 0;                      ///< after affinity (taskset, cgroup cpusets)
  unsigned cores_present = 0;
  std::vector<std::string> cpu_features;          ///< of "avx2", "avx512f", "fma"; those that are there
  std::uint64_t memory_total = 0, memory_available = 0;  ///< bytes
  std::optional<std::uint64_t> memory_limit;      ///< of the cgroup, if there is one
  std::string state_folder;
  bool state_exists = false;
  bool state_writable = false;                    ///< tried with a file; for a folder that is not there: its nearest parent
  std::string state_problem;                      ///< why not
  std::string file_system;                        ///< "ext4", "nfs", "0x1234" if the name is not known
  std::uint64_t disk_free = 0, disk_total = 0;    ///< bytes
  std::optional<std::chrono::nanoseconds> fsync_median;  ///< of 4 KiB appends beside the state
  int owner_pid = 0;                              ///< of the process that owns the state now; 0: none
  std::optional<int> landlock_abi;                ///< empty: the kernel has none, or it is off
  bool gpu_device = false;                        ///< /dev/nvidiactl
  std::vector<std::string> gpus;                  ///< "NVIDIA H200, 139 GiB (138 GiB free), sm_90": those the CUDA module can use
  std::string without_cuda;                       ///< why there are none, or fewer than there could be
  std::string nccl;                               ///< its version and GPUs, or what is missing; empty: not asked, for there is no GPU
  bool nccl_found = false;
  std::uint64_t open_files_soft = 0, open_files_hard = 0;
  std::int64_t wall_seconds = 0;                  ///< since 1970
  bool clock_synchronised = false;                ///< as the kernel says
  std::string locale;                             ///< LC_ALL, else LC_CTYPE, else LANG
  std::vector<std::string> libraries;             ///< "OpenSSL 3.0.17", ...: those that were found loaded or loadable
};

enum class doctor_verdict { ok, warn, fail };
std::string_view name_of(doctor_verdict v);       ///< "ok", "warn", "fail"

struct doctor_finding {
  std::string name;                               ///< "disk"
  doctor_verdict verdict = doctor_verdict::ok;
  std::string what;                               ///< what was seen, with figures
  std::string hint;                               ///< what to do; empty if nothing
};

/// Looks. Takes some 50 ms (the fsync probe); writes one small file beside the state and removes it. `owner_pid` is the
/// caller's to fill in (cluster/journal knows it).
machine_facts look_at_machine(const std::filesystem::path& state_folder);
/// Judges; one finding per subject, in a fixed order. Pure.
std::vector<doctor_finding> judge_machine(const machine_facts& facts);

} // namespace flywheel
