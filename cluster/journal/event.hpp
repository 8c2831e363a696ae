#pragma once
// What the journal holds. Everything else in Flywheel is a projection of a sequence of these.

#include "cluster/base/clock.hpp"
#include "cluster/content/digest.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace flywheel {

/// What sort of thing happened. The name (name_of) is stored, so the order here may change; a name never may.
enum class event_kind : std::uint8_t {
  goal_submitted,      ///< subject: goal id; body: the resolved spec and its digest
  goal_state,          ///< body: {"state": planned|running|waiting|done|failed|cancelled, ...}
  plan_made,           ///< body: the plan graph, its cost estimate and its digest
  step_state,          ///< subject: step; body: {"state": started|done|failed|retrying|skipped, "outputs": ...}
  decision,            ///< body: {"choice","reason","evidence",["rejected":[{"what","why"}]]}; also "did nothing"
  effect_intended,     ///< key: effect key; written and fsynced before the effect (I4)
  effect_done,         ///< key: effect key; body: outcome
  effect_failed,       ///< key: effect key; body: error
  trial_state,         ///< subject: trial id; body: {"state": created|running|completed|pruned|failed, ...} (I15)
  trial_report,        ///< subject: trial id; body: one intermediate value
  budget_reserved,     ///< key: reservation; body: {"trials","slot_seconds"} (I9)
  budget_settled,      ///< key: reservation; body: what was really spent
  approval_requested,  ///< subject: approval id; body: action, plan digest, who may
  approval_granted,    ///< subject: approval id; body: who, for which digest, until when
  approval_denied,     ///< subject: approval id
  approval_used,       ///< subject: approval id; key: the effect it was used for (once, I7)
  model_registered,    ///< subject: model version; body: lineage and manifest digest
  alias_moved,         ///< subject: alias; body: {"from","to","reason"}
  rollout_state,       ///< subject: rollout; body: {"percent","verdict","reason",...}
  incident,            ///< subject: incident; body: one rung of the recovery ladder
  observation,         ///< what a monitor saw (drift scores, health); body: evidence
  node_state,          ///< subject: node; body: {"state": alive|suspect|dead|left|draining, "incarnation", "epoch", "reason"}
  gang_state,          ///< subject: gang; body: {"state": ordered|leased|started|straggler|failed|yielded|done|gave_up|cancelled, ...}
  agent_state,         ///< subject: agent; body: {"state": started|restarted|gave_up, "cause"}
  rehearsal,           ///< subject: name of the file of faults; key: its digest; body: {"state": began|kept|broken|stopped, ...}
  note,                ///< anything else a person may want to find
};
std::string_view name_of(event_kind kind) noexcept;
std::optional<event_kind> event_kind_from_name(std::string_view name) noexcept;

/// An event as an agent writes it. Empty strings mean "does not apply".
struct event_draft {
  event_kind kind = event_kind::note;
  std::string goal;    ///< goal id
  std::string step;    ///< step id within the goal's plan, e.g. "search"
  std::string subject; ///< what it is about: trial id, model version, approval id, alias, ...
  std::string key;     ///< effect or reservation key
  std::string actor;   ///< who says so: "steward", "conductor", "cli:alice", ...
  std::string text;    ///< one sentence for people, present tense, no trailing period
  std::string body;    ///< JSON object, compact; "{}" if there is nothing to add. No secrets (I14).
  std::uint64_t epoch = 0; ///< fencing epoch of the writer (I5)
};

/// An event as it stands in the journal; immutable.
struct event : event_draft {
  std::uint64_t seq = 0; ///< 1, 2, 3, ... without a gap
  wall_time time;
  digest hash;           ///< SHA-256 over the previous hash and every field; see docs/journal.md
};

} // namespace flywheel
