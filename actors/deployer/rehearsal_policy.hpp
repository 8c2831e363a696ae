#pragma once
// Whether a model may be released as far as rehearsals of faults go (policy.release.require_chaos). Pure: the rules, what the journal
// tells of rehearsals, and the time.

#include "cluster/base/clock.hpp"
#include "cluster/goal/goal_spec.hpp"
#include "cluster/journal/event.hpp"

#include <nlohmann/json_fwd.hpp>

namespace flywheel {

struct rehearsal_verdict {
  bool passed = true;
  std::string reason;              ///< a sentence for each rule: which rehearsal passed, or what is missing
  std::vector<std::uint64_t> seqs; ///< the entries of the rehearsals that count
};

/// Of the rehearsals that a rule means, the newest one that ended counts: it must have kept every promise, and be no older than max_age.
/// `rehearsals`: events of that kind, in order.
rehearsal_verdict judge_rehearsals(const std::vector<rehearsal_rule>& rules, const std::vector<event>& rehearsals, wall_time now);

} // namespace flywheel
