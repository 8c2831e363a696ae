#include "actors/learner/learner_actor.hpp"

#include "actors/learner/learner_policy.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"

#include <nlohmann/json.hpp>

namespace flywheel {
namespace {

using nlohmann::json;

struct learner_state {
  static inline const char* name = "learner";
  const agent_context* context = nullptr;
  std::optional<scribe> log;
};
using self_pointer = learner_agent::stateful_pointer<learner_state>;

std::string model_name(const std::string& version) { return version.substr(0, version.find('/')); }

/// The retrain goals of a model so far: what this agent opened, and how each ended.
result<std::vector<retrain_record>> history_of(const scribe& log, const std::string& model) {
  journal_filter filter;
  filter.kinds = {event_kind::effect_done, event_kind::goal_state};
  FLYWHEEL_TRY(const auto events, log.read(filter));
  std::vector<retrain_record> out;
  for (const auto& e : events) {
    const auto body = json::parse(e.body, nullptr, false);
    if (!body.is_object())
      continue;
    if (e.kind == event_kind::effect_done) {
      if (e.key.starts_with("retrain/") && body.value("model", "") == model)
        out.push_back({body.value("goal", ""), body.value("incident", ""), e.time, {}, retrain_record::state::running});
      continue;
    }
    for (auto& r : out)
      if (r.goal == e.goal) {
        const auto state = body.value("state", "");
        r.phase = state == "done"        ? retrain_record::state::succeeded
                  : state == "failed"    ? retrain_record::state::failed
                  : state == "cancelled" ? retrain_record::state::cancelled
                                         : retrain_record::state::running;
        if (r.phase != retrain_record::state::running)
          r.ended = e.time;
      }
  }
  return out;
}

drift_incident incident_of(const incident_found& m, wall_time now) {
  drift_incident d;
  d.id = m.incident;
  d.goal = m.goal;
  d.model = m.model;
  d.found = now;
  d.reason = m.reason;
  const auto evidence = json::parse(m.evidence_json, nullptr, false);
  if (evidence.is_object())
    for (const auto& f : evidence.value("findings", json::array())) {
      const bool feature = f.value("is_feature", false);
      d.features += feature ? 1 : 0;
      if (!f.value("shifted", false))
        continue;
      d.subjects.push_back(f.value("subject", ""));
      d.features_shifted += feature ? 1 : 0;
    }
  return d;
}

/// The goal again, bounded: its overrides are settings like any other and are checked like any other.
result<std::string> bounded_spec(const std::string& spec_json, const std::map<std::string, std::string>& overrides) {
  std::vector<std::string> words;
  for (const auto& [path, value] : overrides)
    words.push_back(path + "=" + value);
  const auto parsed = parse_goal(spec_json, {}, words);
  if (!parsed.ok())
    return error{errc::internal, "the retrain goal is not valid: " + parsed.render("retrain goal", spec_json, false)};
  return to_json(parsed.spec).dump();
}

void open_goal(self_pointer self, const incident_found& m, const learner_verdict& v) {
  auto& st = self->state;
  const auto& log = *st.log;
  const auto spec = bounded_spec(m.spec_json, v.overrides);
  if (!spec) {
    (void)log.write(log.draft(event_kind::note, m.goal, "watch", m.incident, spec.error().to_string(), json::object()));
    return;
  }
  // One incident, one goal: the id is made of the incident, so that a repetition finds the same goal (I2, I3).
  const auto id = model_name(m.model).substr(0, 30) + "-retrain-" + digest_of(m.goal + "/" + m.incident).hex().substr(0, 10);
  const auto done = perform_effect(log, m.goal, "watch", "retrain/" + m.goal + "/" + m.incident,
                                   "open retrain goal " + id + " for " + m.model, {{"goal", id}},
                                   [&]() -> result<json> {
                                     return json{{"goal", id}, {"incident", m.incident}, {"model", model_name(m.model)}};
                                   });
  if (!done)
    return;
  cafx::request(self, st.context->agents->now().conductor, std::chrono::seconds{60},
                submit_goal{id, m.user.empty() ? "flywheel" : m.user, *spec, false, "retrain"})
      .then(
          [self, m](const goal_ack& ack) {
            if (ack.problem)
              (void)self->state.log->write(self->state.log->draft(event_kind::note, m.goal, "watch", m.incident,
                                                                  "the retrain goal was refused: " +
                                                                      ack.problem.to_error().to_string(),
                                                                  json::object()));
          },
          [](const caf::error&) {}); // the conductor is being restarted; the monitor's next confirmed window asks again
}

void decide(self_pointer self, const incident_found& m) {
  auto& st = self->state;
  const auto& log = *st.log;
  const auto spec = goal_from_json(json::parse(m.spec_json, nullptr, false));
  const auto history = history_of(log, model_name(m.model));
  if (!spec || !history)
    return;
  const auto now = st.context->time->wall();
  const auto incident = incident_of(m, now);
  const auto v = decide_retrain(incident, *history, spec->policy.retrain, spec->search.budget, now);
  const auto choice = v.action == learner_action::retrain  ? "open a retrain goal for " + m.model
                      : v.action == learner_action::wait   ? "wait before retraining " + m.model
                                                           : "ask a person about " + m.model;
  json body{{"rung", std::string{name_of(v.action)}}, {"reason", v.reason}, {"subjects", incident.subjects}};
  auto opened = log.draft(event_kind::incident, m.goal, "watch", m.incident, "incident " + m.incident + ": " + choice, body);
  const auto written = log.write({std::move(opened), log.decision(m.goal, "watch", choice, v.reason,
                                                                  {{"incident", m.incident}, {"overrides", v.overrides}}, json::array())});
  if (!written)
    return;
  if (v.action == learner_action::retrain)
    open_goal(self, m, v);
  else if (v.action == learner_action::wait && v.after.count() > 0)
    cafx::delayed_send(self, self, v.after, m);
}

learner_agent::behavior_type learner(self_pointer self, const agent_context* context) {
  self->state.context = context;
  self->state.log.emplace(*context, "learner");
  return {
      [=](const incident_found& m) { decide(self, m); },
  };
}

} // namespace

learner_agent spawn_learner(caf::actor_system& system, const agent_context& context) {
  return system.spawn<caf::detached>(learner, &context);
}

} // namespace flywheel
