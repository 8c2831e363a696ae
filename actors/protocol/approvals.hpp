#pragma once
// Approvals as the journal tells them. Conductor, deployer and command line fold the same events with this one table, so
// that no path to production can see another truth (I7).

#include "cluster/goal/goal_spec.hpp"
#include "cluster/journal/event.hpp"

#include <map>
#include <string>
#include <vector>

namespace flywheel {

struct approval {
  std::string id, goal, action, digest; ///< digest: of the plan it approves
  std::string requester;
  std::vector<std::string> by;          ///< who may
  std::int64_t valid_ns = 0;            ///< a grant's lifetime
  enum class state : std::uint8_t { requested, granted, denied, used } phase = state::requested;
  std::string answered_by, reason;
  wall_time answered{};
  std::string used_for;                 ///< effect key
};

/// The rule for `action` in a goal's policy; if the policy names none, only the requester's own word is asked for.
approval_rule rule_for(const goal_spec& spec, std::string_view action);
/// "a-<first 12 of the digest>-<action>": the same plan asks once.
std::string approval_id(std::string_view plan_digest, std::string_view action);
/// Why `user` may not answer, or success.
status may_answer(const approval& a, const std::string& user);

class approval_table {
public:
  void apply(const event& e);
  const approval* find(std::string_view id) const;
  const std::map<std::string, approval, std::less<>>& all() const noexcept { return approvals_; }
  /// Success if `id` was granted for `digest`, has not expired and is unused (or used for this same `effect_key`).
  /// waiting_for_approval if nobody has answered; not_approved with the reason otherwise.
  status check(std::string_view id, std::string_view digest, std::string_view effect_key, wall_time now) const;

private:
  std::map<std::string, approval, std::less<>> approvals_;
};

} // namespace flywheel
