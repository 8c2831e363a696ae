#include "gpu/compute_device.hpp"

#include "gpu/device_errors.hpp"

namespace flywheel::gpu {

result<std::unique_ptr<compute_device>> compute_device::open(const operation_table& operations, int index, std::uint64_t memory_bound) {
  const std::string where = "device " + std::to_string(index);
  const auto failed = [&](int number, const char* what) { return error_of_cuda(number, operations.explain(number), what, where); };
  int count = 0;
  if (const int e = operations.device_count(&count); e != 0)
    return failed(e, "counting devices");
  if (index < 0 || index >= count)
    return error{errc::not_found, "there is no such device", where, "choose one below " + std::to_string(count)};
  device_description d{};
  if (const int e = operations.describe_device(index, &d); e != 0)
    return failed(e, "looking at the device");
  if (const int e = operations.use_device(index); e != 0)
    return failed(e, "choosing the device");
  return std::unique_ptr<compute_device>{new compute_device{operations, index, d.name, memory_bound}};
}

error compute_device::error_of(int number, const std::string& what) const {
  return error_of_cuda(number, operations_.explain(number), what, name_ + ", device " + std::to_string(index_));
}

status compute_device::check(int number, const char* what) const {
  if (number != 0)
    return error_of(number, what);
  return {};
}

result<void*> compute_device::source::take(std::uint64_t bytes) {
  void* memory = nullptr;
  if (const int e = device_.operations_.allocate(&memory, bytes); e != 0)
    return device_.error_of(e, "reserving " + std::to_string(bytes) + " bytes");
  return memory;
}

void compute_device::source::give_back(void* memory) { static_cast<void>(device_.operations_.release(memory)); }

} // namespace flywheel::gpu
