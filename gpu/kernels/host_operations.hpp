#pragma once
// The operation table filled with the CPU pages: a device of float arithmetic that every machine has. What trains through
// the table is tested here and runs on a GPU unchanged, so the host is as strict as a GPU: it refuses pointers and strides
// that cuBLASLt would refuse, and fresh memory holds NaN.

#include "gpu/operations.hpp"

namespace flywheel::gpu {

/// One device, number 0. Streams and events exist, but everything is done when a call returns. Thread-safe as far as the
/// memory that is passed in is not shared. Error numbers are those of CUDA for an invalid value and for memory that ran out.
const operation_table& host_operations();

} // namespace flywheel::gpu
