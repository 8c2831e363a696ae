#include "nccl/library_nccl.hpp"

#include <cstdlib>
#include <variant>

#include <dlfcn.h>

namespace flywheel::nccl {
namespace {

error missing(std::string what, std::string hint) { return {errc::unsupported, "NCCL cannot be used: " + std::move(what), {}, std::move(hint)}; }

/// dlerror() is null only if nothing failed.
std::string why() {
  const char* text = ::dlerror();
  return text != nullptr ? text : "unknown reason";
}

/// Loads functions by name; remembers the first one that is missing.
struct loader {
  void* library;
  std::string* lacks;
  template <class F> void operator()(F& function, const char* name) const {
    function = reinterpret_cast<F>(::dlsym(library, name));
    if (function == nullptr && lacks->empty())
      *lacks = name;
  }
};

result<nccl_library> load() {
  // The driver first: it is small, and without it NCCL (hundreds of megabytes) is not worth mapping.
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr)
    return missing("there is no CUDA driver here (" + why() + ")", "run ranks with GPUs on a host with the NVIDIA driver");
  nccl_library l;
  std::string lacks;
#define FLYWHEEL_LOAD(library, function) loader{library, &lacks}(l.function, #function)
  FLYWHEEL_LOAD(driver, cuInit);
  FLYWHEEL_LOAD(driver, cuDeviceGetCount);
  FLYWHEEL_LOAD(driver, cuDeviceGet);
  FLYWHEEL_LOAD(driver, cuDevicePrimaryCtxRetain);
  FLYWHEEL_LOAD(driver, cuCtxSetCurrent);
  FLYWHEEL_LOAD(driver, cuStreamCreate);
  FLYWHEEL_LOAD(driver, cuStreamQuery);
  FLYWHEEL_LOAD(driver, cuMemAlloc_v2);
  FLYWHEEL_LOAD(driver, cuMemsetD8_v2);
  FLYWHEEL_LOAD(driver, cuMemFree_v2);
  if (!lacks.empty())
    return missing("the CUDA driver has no " + lacks, "install a newer driver");
  // ncclGetUniqueId succeeds without a GPU: only the driver knows.
  if (const int code = l.cuInit(0); code != 0)
    return missing("the CUDA driver does not start (error " + std::to_string(code) + "); there is no GPU", "run `nvidia-smi`");
  if (l.cuDeviceGetCount(&l.gpus) != 0 || l.gpus <= 0)
    return missing("the CUDA driver sees no GPU", "look at CUDA_VISIBLE_DEVICES");
  const char* file = std::getenv("FLYWHEEL_NCCL_LIBRARY");
  void* nccl = ::dlopen(file != nullptr ? file : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  std::string first = nccl == nullptr ? why() : "";
  if (nccl == nullptr && file == nullptr)
    nccl = ::dlopen("/usr/local/cuda/lib64/libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (nccl == nullptr)
    return missing("the library was not found (" + first + ")", "install libnccl2, or set FLYWHEEL_NCCL_LIBRARY");
  FLYWHEEL_LOAD(nccl, ncclGetVersion);
  FLYWHEEL_LOAD(nccl, ncclGetUniqueId);
  FLYWHEEL_LOAD(nccl, ncclCommInitRank);
  FLYWHEEL_LOAD(nccl, ncclCommAbort);
  FLYWHEEL_LOAD(nccl, ncclCommDestroy);
  FLYWHEEL_LOAD(nccl, ncclCommGetAsyncError);
  FLYWHEEL_LOAD(nccl, ncclGetErrorString);
  FLYWHEEL_LOAD(nccl, ncclAllReduce);
  FLYWHEEL_LOAD(nccl, ncclReduce);
  FLYWHEEL_LOAD(nccl, ncclBroadcast);
  FLYWHEEL_LOAD(nccl, ncclGroupStart);
  FLYWHEEL_LOAD(nccl, ncclGroupEnd);
#undef FLYWHEEL_LOAD
  if (!lacks.empty())
    return missing("its library has no " + lacks, "install NCCL 2.14 or newer");
  if (l.ncclGetVersion(&l.version) != nccl_code::success || l.version < 21400)
    return missing("its version " + std::to_string(l.version) + " is too old", "install NCCL 2.14 or newer");
  return l;
}

} // namespace

result<const nccl_library*> nccl_library::find() {
  static const result<nccl_library> found = load();
  if (!found)
    return found.error();
  return &found.value();
}

std::string describe_nccl() {
  const auto found = nccl_library::find();
  if (!found)
    return found.error().what;
  const int v = found.value()->version;
  return "NCCL " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100) + ", " +
         std::to_string(found.value()->gpus) + " GPU(s)";
}

} // namespace flywheel::nccl
