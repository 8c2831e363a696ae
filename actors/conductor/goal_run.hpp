#pragma once
// One goal on its way through its plan: a fold of its events, and the question "what now?". Pure; told the time.
// After a crash the same events give the same state (I13); a step found running then is started again, because every
// agent continues from what was done.

#include "actors/conductor/plan_graph.hpp"
#include "actors/protocol/approvals.hpp"

#include <map>
#include <optional>
#include <variant>

namespace flywheel {

enum class goal_phase : std::uint8_t { running, waiting, done, failed, cancelled };
std::string_view name_of(goal_phase p) noexcept;

struct step_run {
  enum class phase : std::uint8_t { pending, running, retrying, done, failed } now = phase::pending;
  std::uint32_t attempt = 0;      ///< of the last start
  std::string outputs_json = "{}";
  std::string summary;
  error problem{errc::ok, {}};
  wall_time retry_at{};
  nanoseconds retry_after{};      ///< and how long that was meant to be
  wall_time started{}, ended{};
};
std::string_view name_of(step_run::phase p) noexcept;

// ---- what to do next ------------------------------------------------------------------------------------------------
struct start_step { std::string step; std::uint32_t attempt; std::string inputs_json; bool uses_approval; }; ///< inputs: outputs of all it waits for
struct ask_person { std::string action; };                       ///< append approval_requested
struct wake_at { wall_time when; };                              ///< nothing before then
struct finish_goal { goal_phase phase; std::string reason; };
using next_action = std::variant<start_step, ask_person, wake_at, finish_goal>;

struct goal_run {
  std::string id, user, spec_json, spec_digest, name;
  std::optional<plan_graph> plan;
  std::string digest;             ///< of the plan
  goal_phase phase = goal_phase::running;
  std::string reason;             ///< of the last phase
  std::map<std::string, step_run, std::less<>> steps;
  approval_table approvals;
  wall_time submitted{}, ended{};
  std::uint64_t seq = 0;          ///< of goal_submitted

  /// Ignores events of other goals and kinds it does not know.
  void apply(const event& e);
  /// The process that ran the steps is gone: what was running must be started again. Call once after folding a journal.
  void forget_running();
  bool over() const noexcept;
  /// Everything that should happen now, in order; empty: wait for running steps or a person.
  std::vector<next_action> decide(wall_time now) const;
  /// The effect key of a step's effect: one per goal and step (I3).
  std::string effect_key(std::string_view step) const;

private:
  bool is_done(std::string_view step) const;
  void collect_outputs(const plan_step& step, nlohmann::json& outputs) const;
};

/// Every goal of a journal, by id.
class goal_table {
public:
  void apply(const event& e);
  goal_run* find(std::string_view id);
  const goal_run* find(std::string_view id) const;
  const std::map<std::string, goal_run, std::less<>>& all() const noexcept { return goals_; }
  std::map<std::string, goal_run, std::less<>>& all() noexcept { return goals_; }

private:
  std::map<std::string, goal_run, std::less<>> goals_;
};

} // namespace flywheel
