#pragma once
// Loops shared among the threads of the process. Parts are claimed one by one, so that a core taken away by somebody
// else delays one part, not the whole loop. What a part computes never depends on who computes it: results are the same
// for any number of threads.

#include <cstddef>
#include <memory>

namespace flywheel::gpu {

/// Threads a loop may use, the caller included; for the whole process. 1 until told otherwise: workers share the cores by
/// process. Waits for a running loop to end.
void set_threads(unsigned count);
unsigned threads() noexcept;

namespace detail {
using loop_body = void (*)(const void* context, std::size_t part);
void run_loop(std::size_t parts, loop_body body, const void* context);
} // namespace detail

/// f(i) for every i below `parts`, in no particular order, and returns when all are done. f must not throw. A loop inside
/// a loop, and a loop while another thread's loop runs, is run by its caller alone. Helpers take over the caller's
/// treatment of denormals (denormals.hpp).
template <class F> void parallel_for(std::size_t parts, const F& f) {
  detail::run_loop(parts, [](const void* context, std::size_t part) { (*static_cast<const F*>(context))(part); }, std::addressof(f));
}

/// f(first, last) on stretches of at most `grain` elements that cover [0, size).
template <class F> void parallel_ranges(std::size_t size, std::size_t grain, const F& f) {
  parallel_for((size + grain - 1) / grain, [&](std::size_t part) {
    const std::size_t first = part * grain, last = first + grain < size ? first + grain : size;
    f(first, last);
  });
}

} // namespace flywheel::gpu
