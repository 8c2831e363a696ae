#include "actors/protocol/approvals.hpp"

#include "cluster/base/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace flywheel {

using nlohmann::json;

approval_rule rule_for(const goal_spec& spec, std::string_view action) {
  for (const auto& rule : spec.policy.approvals)
    if (rule.action == action)
      return rule;
  return {std::string{action}, {"@me"}, std::chrono::hours{24}};
}

std::string approval_id(std::string_view plan_digest, std::string_view action) {
  return "a-" + std::string{plan_digest.substr(0, 12)} + "-" + std::string{action};
}

status may_answer(const approval& a, const std::string& user) {
  const auto lists = [&](std::string_view who) { return std::find(a.by.begin(), a.by.end(), who) != a.by.end(); };
  if (lists(user) || (user == a.requester ? lists("@me") : lists("*")))
    return success();
  std::string allowed = join(a.by, ", ");
  return error{errc::not_allowed, "'" + user + "' may not answer " + a.id + " (allowed: " + allowed + ")", {},
               user == a.requester ? "ask somebody else to approve; the policy does not let the requester do it"
                                   : "ask one of those named in policy.approvals"};
}

void approval_table::apply(const event& e) {
  if (e.kind != event_kind::approval_requested && e.kind != event_kind::approval_granted &&
      e.kind != event_kind::approval_denied && e.kind != event_kind::approval_used)
    return;
  auto& a = approvals_[e.subject];
  a.id = e.subject;
  const json body = json::parse(e.body, nullptr, false);
  if (body.is_discarded())
    return;
  switch (e.kind) {
  case event_kind::approval_requested:
    a.goal = e.goal;
    a.action = body.value("action", "");
    a.digest = body.value("digest", "");
    a.requester = body.value("requester", "");
    a.by = body.value("by", std::vector<std::string>{});
    a.valid_ns = body.value("valid_ns", std::int64_t{0});
    break;
  case event_kind::approval_granted:
  case event_kind::approval_denied:
    if (a.phase != approval::state::requested)
      break; // the first answer counts
    a.phase = e.kind == event_kind::approval_granted ? approval::state::granted : approval::state::denied;
    a.answered_by = body.value("by", "");
    a.reason = body.value("reason", "");
    a.answered = e.time;
    break;
  case event_kind::approval_used:
    a.phase = approval::state::used;
    a.used_for = e.key;
    break;
  default: break;
  }
}

const approval* approval_table::find(std::string_view id) const {
  const auto i = approvals_.find(id);
  return i == approvals_.end() ? nullptr : &i->second;
}

status approval_table::check(std::string_view id, std::string_view digest, std::string_view effect_key,
                             wall_time now) const {
  const auto* a = find(id);
  if (a == nullptr || a->phase == approval::state::requested)
    return error{errc::waiting_for_approval, "nobody has answered " + std::string{id}, {},
                 "run: flywheel approve " + std::string{id}};
  if (a->digest != digest)
    return error{errc::not_approved, a->id + " approves another plan (" + a->digest.substr(0, 12) + ", not " +
                                         std::string{digest.substr(0, 12)} + ")"};
  if (a->phase == approval::state::denied)
    return error{errc::not_approved, a->id + " was denied by " + a->answered_by +
                                         (a->reason.empty() ? "" : ": " + a->reason)};
  if (a->phase == approval::state::used) {
    if (a->used_for == effect_key)
      return success();
    return error{errc::not_approved, a->id + " was used already, for " + a->used_for};
  }
  if (now.ns > a->answered.ns + a->valid_ns)
    return error{errc::not_approved, a->id + " expired at " + to_iso8601({a->answered.ns + a->valid_ns})};
  return success();
}

} // namespace flywheel
