#include "actors/protocol/approvals.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

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

namespace {

/// What one event says of its approval. Throws json::exception if the body is not what such an event has.
void tell(approval& a, const event& e, const json& body) {
  switch (e.kind) {
  case event_kind::approval_requested:
    a.goal = e.goal;
    body.at("action").get_to(a.action);
    body.at("requester").get_to(a.requester);
    body.at("by").get_to(a.by);
    body.at("valid_ns").get_to(a.valid_ns);
    body.at("digest").get_to(a.digest); // last: without it the approval fits no plan
    break;
  case event_kind::approval_granted:
  case event_kind::approval_denied:
    if (a.phase != approval::state::requested)
      break; // the first answer counts
    body.at("by").get_to(a.answered_by);
    a.reason = body.value("reason", ""); // a person need not give one
    a.answered = e.time;
    a.phase = e.kind == event_kind::approval_granted ? approval::state::granted : approval::state::denied;
    break;
  case event_kind::approval_used:
    a.phase = approval::state::used;
    a.used_for = e.key;
    break;
  default: break;
  }
}

} // namespace

void approval_table::apply(const event& e) {
  if (e.kind != event_kind::approval_requested && e.kind != event_kind::approval_granted &&
      e.kind != event_kind::approval_denied && e.kind != event_kind::approval_used)
    return;
  auto& a = approvals_[e.subject];
  a.id = e.subject;
  try {
    tell(a, e, json::parse(e.body));
  } catch (const json::exception&) {
    // An unreadable body says nothing, so it grants nothing.
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
