#pragma once
// What to do about an error of CUDA or cuBLASLt. A pure table: it needs neither library.

#include "cluster/base/error.hpp"

#include <string>

namespace flywheel::gpu {

enum class remedy : std::uint8_t {
  none,          ///< no error
  retry,         ///< the device is busy or starting: the same again, later
  smaller_batch, ///< memory ran out: the same with less
  drain_slot,    ///< the device is broken until somebody looks at it: no more work for this slot
  stop,          ///< a mistake of ours or of the installation: doing it again would do the same
};

const char* name_of(remedy r) noexcept;

/// `number` as the functions of gpu/operations.hpp return it. Unknown numbers: stop. After drain_slot, and after the
/// numbers of `process_is_lost`, every further call of the process fails.
remedy remedy_of_cuda(int number) noexcept;
/// Whether the process must end before the device can be used again (a kernel died in its context).
bool process_is_lost(int number) noexcept;

/// The error to return upward; `explained` is what the module says of the number, `what` the call.
error error_of_cuda(int number, const std::string& explained, const std::string& what, const std::string& where);

} // namespace flywheel::gpu
