#pragma once
// Successive halving as trials arrive, in its stopping form: Li et al., "A System for Massively Parallel Hyperparameter
// Tuning" (2018), section 3. At each rung only the best 1/eta of those that have reached it goes on. No trial ever waits
// for another, so a slow one holds up nobody; the price is that early trials are judged leniently.

#include <cstdint>
#include <string>
#include <vector>

namespace flywheel {

/// Resources at which to report: resource_max, resource_max/eta, resource_max/eta^2, ... not below `resource_min`, rising.
/// resource_max alone if eta < 2 or resource_min >= resource_max. resource_max 0 is treated as 1.
std::vector<std::uint32_t> make_rungs(std::uint32_t resource_max, std::uint32_t resource_min, std::uint32_t eta = 3);

struct halving_verdict {
  bool go_on = true;
  std::uint64_t rank = 0;   ///< of this value among those at the rung, 1 is best; a tie shares the better rank
  std::uint64_t of = 0;     ///< values at the rung, this one included
  std::uint64_t kept = 0;   ///< how many of them may go on
  double cutoff = 0;        ///< the worst value that may go on
  std::string reason;       ///< one sentence with these numbers
};

/// `earlier`: the values of other trials at this rung so far. A value that is not finite never goes on; fewer than eta
/// values are too few to stop anybody.
halving_verdict judge_halving(const std::vector<double>& earlier, double value, bool maximise, std::uint32_t eta = 3);

} // namespace flywheel
