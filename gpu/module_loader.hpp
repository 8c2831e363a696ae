#pragma once
// Finds the CUDA module and loads it. The program itself is not linked to CUDA, so it starts on any machine.

#include "cluster/base/error.hpp"
#include "gpu/operations.hpp"

namespace flywheel::gpu {

/// The table of the module, loaded once a process. Looked for in $FLYWHEEL_CUDA_MODULE, beside the running program, and
/// where the system looks for libraries; not at all (loading it takes most of a second) where the machine has no NVIDIA
/// driver. Thread-safe. Errors say which of driver, module and version is missing, and are the same at every call.
result<const operation_table*> cuda_operations();

/// The same from one file, for tests.
result<const operation_table*> load_cuda_operations(const char* path);

} // namespace flywheel::gpu
