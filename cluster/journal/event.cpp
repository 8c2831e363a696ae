#include "cluster/journal/event.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>
#include <array>

namespace flywheel {
namespace {

struct kind_name {
  event_kind kind;
  std::string_view name;
};

// The names are part of the hashed bytes of every journal: one may be added, none may ever change.
constexpr std::array names{
    kind_name{event_kind::goal_submitted, "goal_submitted"},
    kind_name{event_kind::goal_state, "goal_state"},
    kind_name{event_kind::plan_made, "plan_made"},
    kind_name{event_kind::step_state, "step_state"},
    kind_name{event_kind::decision, "decision"},
    kind_name{event_kind::effect_intended, "effect_intended"},
    kind_name{event_kind::effect_done, "effect_done"},
    kind_name{event_kind::effect_failed, "effect_failed"},
    kind_name{event_kind::trial_state, "trial_state"},
    kind_name{event_kind::trial_report, "trial_report"},
    kind_name{event_kind::budget_reserved, "budget_reserved"},
    kind_name{event_kind::budget_settled, "budget_settled"},
    kind_name{event_kind::approval_requested, "approval_requested"},
    kind_name{event_kind::approval_granted, "approval_granted"},
    kind_name{event_kind::approval_denied, "approval_denied"},
    kind_name{event_kind::approval_used, "approval_used"},
    kind_name{event_kind::model_registered, "model_registered"},
    kind_name{event_kind::alias_moved, "alias_moved"},
    kind_name{event_kind::rollout_state, "rollout_state"},
    kind_name{event_kind::incident, "incident"},
    kind_name{event_kind::observation, "observation"},
    kind_name{event_kind::node_state, "node_state"},
    kind_name{event_kind::gang_state, "gang_state"},
    kind_name{event_kind::agent_state, "agent_state"},
    kind_name{event_kind::rehearsal, "rehearsal"},
    kind_name{event_kind::note, "note"},
};

constexpr bool in_enum_order() {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (static_cast<std::size_t>(names[i].kind) != i)
      return false;
  return true;
}
static_assert(in_enum_order() && names.size() == static_cast<std::size_t>(event_kind::note) + 1,
              "one name per kind, in the order of the enum");

} // namespace

std::string_view name_of(event_kind kind) noexcept {
  const auto i = static_cast<std::size_t>(kind);
  FLYWHEEL_ASSERT(i < names.size(), "an event kind is one of the enum");
  return names[i].name;
}

std::optional<event_kind> event_kind_from_name(std::string_view name) noexcept {
  const auto i = std::find_if(names.begin(), names.end(), [&](const kind_name& n) { return n.name == name; });
  return i == names.end() ? std::nullopt : std::optional{i->kind};
}

} // namespace flywheel
