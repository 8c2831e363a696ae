#include "actors/learner/incident_fold.hpp"

#include "cluster/base/json.hpp"

#include <algorithm>
#include <map>

namespace flywheel {
namespace {

using nlohmann::json;

json body_of(const event& e) {
  auto body = json::parse(e.body, nullptr, false);
  return body.is_object() ? body : json::object();
}

retrain_record::state phase_from(const std::string& goal_state) {
  return goal_state == "done"        ? retrain_record::state::succeeded
         : goal_state == "failed"    ? retrain_record::state::failed
         : goal_state == "cancelled" ? retrain_record::state::cancelled
                                     : retrain_record::state::running;
}

/// The monitor's decision as the message it was sent with; empty incident if it is another decision.
incident_found confirmed_by(const event& e) {
  incident_found m;
  const auto body = body_of(e);
  const auto evidence = body.value("evidence", json::object());
  if (e.actor != "monitor" || !evidence.is_object())
    return m;
  m.goal = e.goal;
  m.incident = evidence.value("incident", "");
  m.model = evidence.value("model", "");
  m.reason = body.value("reason", "");
  m.evidence_json = evidence.dump();
  return m;
}

} // namespace

std::vector<event_kind> incident_event_kinds() {
  return {event_kind::goal_submitted, event_kind::decision, event_kind::incident, event_kind::effect_done,
          event_kind::goal_state};
}

std::string model_of_version(std::string_view version) { return std::string{version.substr(0, version.find('/'))}; }

std::string retrain_key(const incident_found& m) { return "retrain/" + m.goal + "/" + m.incident; }

std::vector<retrain_record> retrains_of(const std::vector<event>& events, std::string_view model) {
  std::vector<retrain_record> out;
  for (const auto& e : events) {
    if (e.kind == event_kind::effect_done && e.key.starts_with("retrain/")) {
      const auto body = body_of(e);
      if (body.value("model", "") == model)
        out.push_back({body.value("goal", ""), body.value("incident", ""), e.time, {}, retrain_record::state::running});
    } else if (e.kind == event_kind::goal_state) {
      const auto i = std::find_if(out.begin(), out.end(), [&](const retrain_record& r) { return r.goal == e.goal; });
      if (i == out.end())
        continue;
      i->phase = phase_from(body_of(e).value("state", ""));
      i->ended = i->phase == retrain_record::state::running ? wall_time{} : e.time;
    }
  }
  return out;
}

std::string submitter_of(const std::vector<event>& events, std::string_view goal) {
  for (const auto& e : events)
    if (e.kind == event_kind::goal_submitted && e.goal == goal)
      return body_of(e).value("user", "");
  return {};
}

std::vector<incident_found> open_incidents(const std::vector<event>& events) {
  struct goal { std::string spec, user; };
  std::map<std::string, goal> goals;
  std::vector<incident_found> open;
  const auto close = [&](const auto& is_it) { std::erase_if(open, is_it); };
  for (const auto& e : events) {
    switch (e.kind) {
    case event_kind::goal_submitted: {
      const auto body = body_of(e);
      goals[e.goal] = {body.value("spec", json::object()).dump(), body.value("user", "")};
      break;
    }
    case event_kind::decision: {
      auto m = confirmed_by(e);
      const auto made_by = goals.find(e.goal);
      if (m.incident.empty() || made_by == goals.end())
        break;
      m.spec_json = made_by->second.spec;
      m.user = made_by->second.user;
      close([&](const incident_found& o) { return o.goal == m.goal && o.incident == m.incident; });
      open.push_back(std::move(m));
      break;
    }
    case event_kind::incident:
      if (body_of(e).value("rung", "") == name_of(learner_action::escalate))
        close([&](const incident_found& o) { return o.goal == e.goal && o.incident == e.subject; });
      break;
    case event_kind::effect_done: close([&](const incident_found& o) { return retrain_key(o) == e.key; }); break;
    default: break;
    }
  }
  return open;
}

} // namespace flywheel
