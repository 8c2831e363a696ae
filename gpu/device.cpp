#include "gpu/device.hpp"

#include "gpu/device_errors.hpp"
#include "gpu/module_loader.hpp"

#include <thread>
#include <unistd.h>

namespace flywheel::gpu {

namespace {

std::uint64_t bytes_of(int pages_name) {
  const long pages = ::sysconf(pages_name), size = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(size) : 0;
}

device host() {
  device d;
  d.name = "host";
  d.processors = static_cast<int>(std::thread::hardware_concurrency());
  d.memory_total = bytes_of(_SC_PHYS_PAGES);
  d.memory_free = bytes_of(_SC_AVPHYS_PAGES);
  return d;
}

} // namespace

device_report find_devices() {
  device_report report;
  report.devices.push_back(host());
  const auto module = cuda_operations();
  if (!module) {
    report.without_cuda = module.error().to_string();
    return report;
  }
  const operation_table& cuda = **module;
  int count = 0;
  // With no driver the answer is 35, with no card 100; either way there is none.
  if (const int e = cuda.device_count(&count); e != 0 || count == 0) {
    report.without_cuda = e != 0 ? error_of_cuda(e, cuda.explain(e), "counting GPUs", {}).to_string() : "the driver shows no GPU";
    return report;
  }
  for (int i = 0; i < count; ++i) {
    device_description d{};
    if (const int e = cuda.describe_device(i, &d); e != 0) {
      report.without_cuda = error_of_cuda(e, cuda.explain(e), "looking at GPU " + std::to_string(i), {}).to_string();
      continue;
    }
    report.devices.push_back({device_kind::cuda, i, d.name, d.memory_total, d.memory_free, d.processors, d.major, d.minor, d.pci});
  }
  return report;
}

} // namespace flywheel::gpu
