#pragma once
// A list of tasks done by a few threads, for I/O that is faster when several requests are under way.

#include "cluster/base/error.hpp"

#include <cstddef>
#include <functional>

namespace flywheel {

/// Calls task(0) ... task(count - 1), each once, from up to `threads` threads (this one is among them), in about that
/// order. After the first error no further task begins; that error is returned when all have ended. `worker` is below
/// `threads` and no two tasks run with the same at a time. Fewer threads are used if the system gives no more.
status for_each_task(std::size_t count, unsigned threads, const std::function<status(std::size_t task, unsigned worker)>& run);

} // namespace flywheel
