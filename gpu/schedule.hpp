#pragma once
// The learning rate over a run, as a pure function of the step.

#include <cstdint>

namespace flywheel::gpu {

/// Linear warm-up from 0 over `warmup` steps, then half a cosine down to `floor` x peak at step `total`.
struct cosine_schedule {
  double peak = 1e-3;
  double floor = 0.0;            ///< fraction of peak
  std::uint64_t warmup = 0, total = 1;

  /// For the update number `step`, counted from 0. Never 0 during warm-up; `floor` x peak beyond `total`.
  double at(std::uint64_t step) const;
};

} // namespace flywheel::gpu
