#include "actors/client/doctor.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {
namespace {

using enum doctor_verdict;
constexpr std::uint64_t gib = 1ull << 30;
/// Before the first release of this program: an earlier clock is wrong, and certificates and journal times with it.
constexpr std::int64_t plausible_since = 1'767'225'600; // 2026-01-01T00:00:00Z
constexpr std::int64_t plausible_until = 4'102'444'800; // 2100-01-01T00:00:00Z

doctor_finding processors(const machine_facts& f) {
  std::string what = std::to_string(f.cores_usable) + " of " + std::to_string(f.cores_present) + " cores usable";
  what += f.cpu_features.empty() ? ", no AVX2" : ", " + join(f.cpu_features, " ");
  if (f.cores_usable == 0)
    return {"processors", warn, "the number of cores could not be read", ""};
  const bool avx2 = std::find(f.cpu_features.begin(), f.cpu_features.end(), "avx2") != f.cpu_features.end();
  if (!avx2)
    return {"processors", warn, what, "neural networks and CSV reading will be several times slower than on a processor with AVX2"};
  if (f.cores_usable < 2)
    return {"processors", warn, what, "trials run one after the other; give it two cores or more (taskset, cgroup, or the Slurm allocation)"};
  return {"processors", ok, what, ""};
}

doctor_finding memory(const machine_facts& f) {
  const auto usable = std::min(f.memory_available, f.memory_limit.value_or(f.memory_available));
  std::string what = format_bytes(f.memory_available) + " free of " + format_bytes(f.memory_total);
  if (f.memory_limit)
    what += ", limited to " + format_bytes(*f.memory_limit);
  if (usable < gib / 2)
    return {"memory", fail, what, "free at least 1 GiB, or raise the limit; workers will be killed otherwise"};
  if (usable < 2 * gib)
    return {"memory", warn, what, "a worker may use 2 GiB by default; lower resources.worker_memory or resources.slots in the goal"};
  return {"memory", ok, what, ""};
}

doctor_finding state(const machine_facts& f) {
  if (!f.state_writable)
    return {"state", fail, f.state_folder + ": " + (f.state_problem.empty() ? "not writable" : f.state_problem),
            "choose another folder with --state DIR or $FLYWHEEL_STATE, or mend its rights"};
  std::string what = f.state_folder + (f.state_exists ? "" : " (will be made)");
  if (f.owner_pid != 0)
    what += ", owned by process " + std::to_string(f.owner_pid);
  return {"state", ok, what, ""};
}

doctor_finding disk(const machine_facts& f) {
  const std::string what = format_bytes(f.disk_free) + " free of " + format_bytes(f.disk_total) + " (" + f.file_system + ")";
  if (f.disk_free < gib / 5)
    return {"disk", fail, what, "free some space, or move the state folder: the journal stops when the disk is full"};
  if (f.file_system == "nfs" || f.file_system == "cifs" || f.file_system == "fuse")
    return {"disk", warn, what, "the journal needs a local disk: locks and fsync of network file systems are not dependable; use --state on a local one"};
  if (f.file_system == "tmpfs")
    return {"disk", warn, what, "this folder lives in memory and is lost at a restart; use --state on a disk"};
  if (f.disk_free < 2 * gib)
    return {"disk", warn, what, "snapshots and checkpoints may need more; free some space"};
  return {"disk", ok, what, ""};
}

doctor_finding fsync_speed(const machine_facts& f) {
  if (!f.fsync_median)
    return {"fsync", f.state_writable ? warn : ok, "not measured", f.state_writable ? "writing a probe file beside the state failed" : ""};
  const std::string what = format_duration(*f.fsync_median) + " for a 4 KiB append, median";
  using namespace std::chrono_literals;
  if (*f.fsync_median > 50ms)
    return {"fsync", warn, what, "every decision waits for the disk; a disk with a faster fsync makes goals start sooner"};
  if (*f.fsync_median < 5us && f.file_system != "tmpfs")
    return {"fsync", warn, what, "no disk is that fast: this one may not keep what it promises over a power cut"};
  return {"fsync", ok, what, ""};
}

doctor_finding gpu(const machine_facts& f) {
  if (!f.gpu_device)
    return {"gpu", ok, "no GPU: using CPU slots", ""};
  if (f.gpus.empty())
    return {"gpu", warn, "/dev/nvidiactl is there, but no GPU can be used: " + f.without_cuda,
            "install the driver's user libraries (or mount them into the container), and libflywheel_cuda.so beside flywheel; till then CPU slots"};
  if (!f.without_cuda.empty())
    return {"gpu", warn, join(f.gpus, "; ") + "; not all: " + f.without_cuda, "nvidia-smi -q shows what is wrong with the others"};
  return {"gpu", ok, join(f.gpus, "; "), ""};
}

doctor_finding gangs(const machine_facts& f) {
  const std::string on_cpus = "CPU ranks by shared memory, over Gloo between hosts";
  if (f.gpus.empty())
    return {"gangs", ok, on_cpus, ""};
  if (!f.nccl_found)
    return {"gangs", warn, on_cpus + "; GPU ranks: " + f.nccl, "install libnccl2, or name the file in FLYWHEEL_NCCL_LIBRARY; till then a gang has one GPU"};
  return {"gangs", ok, on_cpus + "; GPU ranks by " + f.nccl, ""};
}

doctor_finding sandbox(const machine_facts& f) {
  if (!f.landlock_abi)
    return {"sandbox", warn, "the kernel offers no Landlock", "workers run without a file system sandbox; enable Landlock (Linux 5.13 or later, lsm=landlock)"};
  return {"sandbox", ok, "Landlock ABI " + std::to_string(*f.landlock_abi), ""};
}

doctor_finding open_files(const machine_facts& f) {
  const std::string what = std::to_string(f.open_files_soft) + " (may be raised to " + std::to_string(f.open_files_hard) + ")";
  if (f.open_files_soft < 256)
    return {"open-files", fail, what, "ulimit -n 4096"};
  if (f.open_files_soft < 1024)
    return {"open-files", warn, what, "the model server needs one per connection: ulimit -n 4096"};
  return {"open-files", ok, what, ""};
}

doctor_finding clock_state(const machine_facts& f) {
  const std::string what = std::to_string(f.wall_seconds) + " s since 1970" + (f.clock_synchronised ? ", synchronised" : ", not synchronised");
  if (f.wall_seconds < plausible_since || f.wall_seconds > plausible_until)
    return {"clock", fail, what, "set the clock: approvals expire and certificates are checked by it"};
  if (!f.clock_synchronised)
    return {"clock", ok, what + "; fine on one machine", "with several nodes run chrony or systemd-timesyncd"};
  return {"clock", ok, what, ""};
}

doctor_finding locale(const machine_facts& f) {
  const std::string small = lower(f.locale);
  if (small.find("utf-8") != std::string::npos || small.find("utf8") != std::string::npos)
    return {"locale", ok, f.locale, ""};
  return {"locale", ok, f.locale.empty() ? "none set" : f.locale, "names outside ASCII may look wrong in the terminal: export LC_ALL=C.UTF-8"};
}

} // namespace

std::string_view name_of(doctor_verdict v) { return v == ok ? "ok" : v == warn ? "warn" : "fail"; }

std::vector<doctor_finding> judge_machine(const machine_facts& f) {
  std::vector<doctor_finding> findings{{"system", ok, f.kernel, ""}, processors(f), memory(f), state(f),      disk(f),        fsync_speed(f),
                                       gpu(f),                       gangs(f),      sandbox(f), open_files(f), clock_state(f), locale(f)};
  if (!f.libraries.empty())
    findings.push_back({"libraries", ok, join(f.libraries, ", "), ""});
  return findings;
}

} // namespace flywheel
