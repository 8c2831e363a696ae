#pragma once
// The rollout step: a version goes into production in steps, each on evidence; back at once if a gate says so. Blocking;
// safe to repeat: after a kill it goes on from the last recorded step.

#include "actors/deployer/serving_table.hpp"
#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/messages.hpp"
#include "checkpoints/registry.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <atomic>
#include <functional>

namespace flywheel {

/// What the rollout needs from other agents.
struct rollout_ports {
  /// Held-out rows as traffic; blocks until they are answered.
  std::function<replay_report(const replay_traffic&)> replay;
  /// What was served, for the monitor.
  std::function<void(const served_batch&)> forward;
};

/// Requires an approval in the journal, bound to the goal's plan and used for this step's effect key (I7).
result<step_outcome> roll_out(const agent_context& context, const run_step& m, serving_table& servers,
                              const rollout_ports& ports, const std::atomic<bool>& stop);

/// Whoever published a version or moved an alias may have died before the journal knew, and its goal may never go on: the deployer compares
/// the two when it starts, and writes down what is missing (I13).
status record_unrecorded(const agent_context& context);

/// Serves the present champion of `goal`'s model; used after a restart.
result<serve_report> serve_champion(const agent_context& context, const std::string& goal, const goal_spec& spec,
                                    serving_table& servers);

/// Moves champion back to `to_version` (0: the champion before the present one) and switches the traffic. Recorded.
result<std::string> roll_back(const agent_context& context, const rollback_model& m, serving_table& servers);

/// Rows of `requests` by version `version`, packed for the monitor.
served_batch pack_batch(const std::string& goal, const std::string& version, const std::vector<served_request>& requests,
                        const std::vector<served_label>& labels);

} // namespace flywheel
