#pragma once
// Whether a gang that ended is tried again, and when. Pure: it remembers the causes it was told.
//
// A failure that comes back in the same way at the same step is the program's, not the world's: a restart repeats it.

#include "cluster/gang/gang_types.hpp"

namespace flywheel {

struct restart_options {
  std::uint32_t restarts_max = 3;
  nanoseconds backoff_first{1'000'000'000}, backoff_max{60'000'000'000}; ///< doubled each time the gang gets nowhere
  nanoseconds long_life{60'000'000'000}; ///< a gang that tells no steps got somewhere if it lived so long
  std::uint32_t repeats_max = 3; ///< the same own failure at the same step so often is final
};

struct restart_verdict {
  bool restart = false;
  nanoseconds after{};   ///< 0 after an attempt that got somewhere, and for the first that did not
  std::string reason;    ///< why, or why not; for people
};

class restart_policy {
public:
  explicit restart_policy(restart_options options) : options_(options) {}
  /// Told each end once, in order.
  restart_verdict decide(const gang_cause& cause);
  std::uint32_t restarts() const noexcept { return restarts_; }

private:
  restart_options options_;
  std::uint32_t restarts_ = 0, fruitless_ = 0, repeats_ = 0;
  std::vector<gang_cause> last_; ///< none or one
};

} // namespace flywheel
