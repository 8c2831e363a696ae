#pragma once
// Whether the promises were kept (I1 to I15, docs/chaos.md), from what was recorded and what is left. Pure: the evidence in, a verdict for
// each promise out. What the evidence does not show is "not judged", with the reason; never "kept".

#include "cluster/journal/journal.hpp"

#include <nlohmann/json_fwd.hpp>

#include <map>

namespace flywheel {

/// A goal that somebody was told is accepted, and what came of asking again at the end.
struct acknowledged_goal {
  std::string id;
  std::uint64_t seq = 0;               ///< as acknowledged
  std::optional<std::uint64_t> again;  ///< the seq of asking again with the same body; none: not asked
  std::string again_problem;           ///< why that was refused; empty: it was not
  std::optional<bool> conflict_refused; ///< the same id with another body was refused; none: not asked
};

/// A model version as it stands in the registry: the sink of a release.
struct published_version {
  std::string model;
  std::uint32_t version = 0;
  std::string manifest, goal;
  std::string id() const { return model + "/v" + std::to_string(version); }
};
struct registry_alias {
  std::string model, alias;
  std::uint32_t version = 0;
  std::uint64_t epoch = 0;
};

struct promise_evidence {
  std::vector<event> events;           ///< the whole journal
  journal_verdict chain;               ///< of the walk over it
  std::optional<std::uint64_t> before_seq; ///< the last entry before the faults, and its hash then
  digest before_hash;
  std::vector<acknowledged_goal> acknowledged;
  bool registry_read = false;          ///< the three that follow say something
  std::vector<published_version> versions;
  std::vector<registry_alias> aliases;
  std::vector<std::string> damage;     ///< what does not match its checksum
  std::uint64_t owner_epoch = 0;       ///< of the state folder now; 0: not known
  bool quiet = false;                  ///< the faults are over, nothing waits or runs; without it leftovers say nothing
  std::string why_not_quiet;
  bool leftovers_looked_at = false;
  std::vector<std::string> leftovers;  ///< processes, sockets, files, leases that nobody holds any more
  std::vector<std::string> slots;      ///< nodes whose slots do not add up
  bool settled = false;                ///< goals had the time that they were to have
  std::uint64_t secrets_looked_for = 0;
  std::vector<std::string> secrets_found; ///< where which one stands, without the secret
};

struct promise_verdict {
  enum class finding : std::uint8_t { kept, broken, not_judged } found = finding::not_judged;
  std::string promise;                 ///< "I1"
  std::string title;
  std::string reason;                  ///< of kept: what was counted; of not_judged: why
  std::vector<std::string> evidence;   ///< of broken: what, with the entries of the journal; at most 20
};
std::string_view name_of(promise_verdict::finding f) noexcept;

/// One verdict for each promise, I1 to I15 in order.
std::vector<promise_verdict> judge_promises(const promise_evidence& e);
bool all_kept(const std::vector<promise_verdict>& verdicts) noexcept;
nlohmann::json to_json(const std::vector<promise_verdict>& verdicts);

/// What a goal has come to, by the journal alone: "done", "failed", "cancelled", "waiting", "running"; by id, in order of submission.
std::vector<std::pair<std::string, std::string>> goal_states(const std::vector<event>& events);

} // namespace flywheel
