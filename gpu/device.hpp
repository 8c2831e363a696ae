#pragma once
// What this machine can compute on: always the host, and the GPUs that the CUDA module sees.

#include <cstdint>
#include <string>
#include <vector>

namespace flywheel::gpu {

enum class device_kind : std::uint8_t { host, cuda };

struct device {
  device_kind kind = device_kind::host;
  int index = 0;                         ///< among its kind
  std::string name;
  std::uint64_t memory_total = 0, memory_free = 0; ///< bytes
  int processors = 0;                    ///< cores, or multiprocessors
  int major = 0, minor = 0;              ///< CUDA's compute capability
  std::string pci = {};                  ///< of a GPU: "0000:65:00.0"
};

struct device_report {
  std::vector<device> devices;           ///< the host first
  std::string without_cuda;              ///< why there is no GPU among them; empty where there is one
};

/// Asks the system and, where there is an NVIDIA driver, the module (up to a second the first time). Never fails: what
/// cannot be used is told in `without_cuda`.
device_report find_devices();

} // namespace flywheel::gpu
