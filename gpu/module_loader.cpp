#include "gpu/module_loader.hpp"

#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <string>

namespace flywheel::gpu {

namespace {

constexpr const char* module_name = "libflywheel_cuda.so";

std::string reason() {
  const char* text = ::dlerror();
  return text != nullptr ? text : "no reason given";
}

std::string beside_program() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto path = program.parent_path() / module_name;
  return std::filesystem::exists(path, ignored) ? path.string() : module_name;
}

result<const operation_table*> find() {
  // The driver's library is not kept open: the module opens it again.
  void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr)
    return error{errc::unsupported, "no NVIDIA driver: " + reason(), {}, "run on the CPU, or install the driver"};
  ::dlclose(driver);
  const char* chosen = std::getenv("FLYWHEEL_CUDA_MODULE");
  return load_cuda_operations(chosen != nullptr ? chosen : beside_program().c_str());
}

} // namespace

result<const operation_table*> load_cuda_operations(const char* path) {
  void* module = ::dlopen(path, RTLD_NOW | RTLD_LOCAL); // never closed: CUDA does not survive that
  if (module == nullptr)
    return error{errc::unsupported, "the CUDA module cannot be loaded: " + reason(), path, "build it with nvcc at hand (docs/compute.md)"};
  void* symbol = ::dlsym(module, cuda_module_symbol);
  if (symbol == nullptr)
    return error{errc::invalid_format, "this is no CUDA module of Flywheel: " + reason(), path, "name libflywheel_cuda.so"};
  const operation_table* table = reinterpret_cast<operation_table_getter>(symbol)();
  if (table->version != operation_table_version || table->bytes != sizeof(operation_table))
    return error{errc::incompatible_version,
                 "the CUDA module has version " + std::to_string(table->version) + ", the program " + std::to_string(operation_table_version),
                 path, "build both from the same source"};
  return table;
}

result<const operation_table*> cuda_operations() {
  static const result<const operation_table*> found = find();
  return found;
}

} // namespace flywheel::gpu
