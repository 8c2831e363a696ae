#pragma once
// What to do about a confirmed shift: open a bounded retrain goal, wait, or ask a person. Pure: told what happened and the
// time, it answers with one verdict and its reason. It never acts; a retrain goal goes through the conductor like any other
// and needs its own approvals.

#include "cluster/base/clock.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// A shift that the monitor has confirmed.
struct drift_incident {
  std::string id;
  std::string goal, model;
  wall_time found;
  std::string reason;                    ///< the monitor's sentence
  std::vector<std::string> subjects;     ///< what shifted; "accuracy" if the labels say so
  std::size_t features = 0;              ///< that the model has; 0: unknown
  std::size_t features_shifted = 0;
};

/// A retrain goal opened earlier for the same model.
struct retrain_record {
  enum class state : std::uint8_t { running, succeeded, failed, cancelled };
  std::string goal;                      ///< its id
  std::string incident;
  wall_time started, ended;              ///< ended: not while running
  state phase = state::running;
};

enum class learner_action : std::uint8_t { retrain, wait, escalate };
std::string_view name_of(learner_action a) noexcept;

struct learner_verdict {
  learner_action action = learner_action::wait;
  nanoseconds after{};                   ///< wait: look again then; 0: when something changes
  std::string reason;
  /// retrain: `a.b=v` overrides of the goal's spec that bound the new goal.
  std::map<std::string, std::string> overrides;
};

/// `history`: all retrain goals of this model, in any order. `budget`: of the goal that made the model.
learner_verdict decide_retrain(const drift_incident& incident, std::span<const retrain_record> history,
                               const retrain_spec& policy, const search_budget& budget, wall_time now);

} // namespace flywheel
