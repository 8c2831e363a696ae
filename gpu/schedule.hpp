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

/// Warm-up, stable, decay (Hu et al., "MiniCPM", 2024): linear warm-up from 0, then the peak, then over the last `decay`
/// steps before `total` linearly down to `floor` x peak. A run can be prolonged from any step of its stable part.
struct wsd_schedule {
  double peak = 1e-3;
  double floor = 0.0;            ///< fraction of peak
  std::uint64_t warmup = 0, decay = 0, total = 1;

  /// For the update number `step`, counted from 0. Never 0 during warm-up; `floor` x peak beyond `total`.
  double at(std::uint64_t step) const;
};

} // namespace flywheel::gpu
