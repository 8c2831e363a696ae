#include "gpu/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace flywheel::gpu {

double cosine_schedule::at(std::uint64_t step) const {
  if (step < warmup)
    return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double span = static_cast<double>(std::max<std::uint64_t>(total, warmup + 1) - warmup);
  const double part = std::min(1.0, static_cast<double>(step - warmup) / span);
  return peak * (floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * part)));
}

double wsd_schedule::at(std::uint64_t step) const {
  if (step < warmup)
    return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (step >= total)
    return peak * floor;
  const std::uint64_t left = total - step;
  if (left >= decay)
    return peak;
  return peak * (floor + (1 - floor) * static_cast<double>(left) / static_cast<double>(decay));
}

} // namespace flywheel::gpu
