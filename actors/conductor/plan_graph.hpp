#pragma once
// A goal as a graph of typed steps: what runs, after what, on whose word, at what estimated cost. Pure.

#include "cluster/base/error.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace flywheel {

struct plan_step {
  std::string id;                 ///< "ingest", "explore", ...
  std::string agent;              ///< who runs it
  std::string title;              ///< for people
  std::vector<std::string> needs; ///< steps that must be done before
  std::string approval;           ///< action a person must approve before it starts; empty: none
  bool effect = false;            ///< changes the world outside the state directory
  std::uint32_t slots = 0;        ///< CPU slots it leases while it computes
  double seconds = 0;             ///< estimated wall time
  double slot_seconds = 0;        ///< estimated (for search: the budget's ceiling)
  std::string estimate_from;      ///< where the estimate comes from
};

struct plan_graph {
  std::string goal;               ///< goal id
  std::string goal_digest;
  std::vector<plan_step> steps;   ///< in an order in which they could run one by one
  const plan_step* find(std::string_view id) const noexcept;
  double seconds() const;         ///< along the longest path
  double slot_seconds() const;
};

/// `source_bytes`: size of the data file; `cores`: slots of the node; `origin`: of the goal (submit_goal): one that the
/// learner opened waits for approval before its first step if the policy lists the action "retrain".
plan_graph make_plan(const std::string& goal, const std::string& goal_digest, const goal_spec& spec,
                     std::uint64_t source_bytes, unsigned cores, const std::string& origin = {});
nlohmann::json to_json(const plan_graph& p);
result<plan_graph> plan_from_json(const nlohmann::json& j);
/// SHA-256 of what an approval binds to: the goal, its steps and their approvals, not the estimates.
std::string plan_digest(const plan_graph& p);

} // namespace flywheel
