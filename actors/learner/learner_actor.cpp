#include "actors/learner/learner_actor.hpp"

#include "actors/learner/incident_fold.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/own_thread.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"

namespace flywheel {
namespace {

using nlohmann::json;

struct learner_state {
  static inline const char* name = "learner";
  const agent_context* context = nullptr;
  std::optional<scribe> log;
};
using self_pointer = learner_agent::stateful_pointer<learner_state>;

/// What the journal says that the learner must know.
result<std::vector<event>> history(const scribe& log) {
  journal_filter filter;
  filter.kinds = incident_event_kinds();
  return log.read(filter);
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

/// Submits a goal and waits for the conductor's word. The conductor never waits for the learner.
status submit(self_pointer self, const submit_goal& m) {
  const auto conductor = self->state.context->agents->now().conductor;
  if (!conductor)
    return {errc::interrupted, "the node is stopping"};
  const auto ack = ask_and_wait<goal_ack>(self->home_system(), conductor, std::chrono::seconds{60}, m, [](const caf::error& e) {
    goal_ack none;
    none.problem = error{errc::interrupted, "the conductor did not answer: " + cafx::render(e)};
    return none;
  });
  if (ack.problem)
    return ack.problem.to_error();
  return success();
}

void open_goal(self_pointer self, const incident_found& m, const std::string& user, const learner_verdict& v) {
  auto& st = self->state;
  const auto& log = *st.log;
  const auto spec = bounded_spec(m.spec_json, v.overrides);
  if (!spec) {
    (void)log.write(log.draft(event_kind::note, m.goal, "watch", m.incident, spec.error().to_string(), json::object()));
    return;
  }
  // One incident, one goal: the id is made of the incident, so that a repetition finds the same goal (I2, I3).
  const auto id = model_of_version(m.model).substr(0, 30) + "-retrain-" + digest_of(m.goal + "/" + m.incident).hex().substr(0, 10);
  const auto opened = perform_effect(log, m.goal, "watch", retrain_key(m), "open retrain goal " + id + " for " + m.model,
                                     {{"goal", id}}, [&]() -> result<json> {
                                       FLYWHEEL_CHECK(submit(self, {id, user, *spec, false, "retrain"}));
                                       return json{{"goal", id}, {"incident", m.incident}, {"model", model_of_version(m.model)}};
                                     });
  if (!opened) // it stays open: tried again at the next start, or when the monitor confirms again
    (void)log.write(log.draft(event_kind::note, m.goal, "watch", m.incident,
                              "the retrain goal was not opened: " + opened.error().to_string(), json::object()));
}

void decide(self_pointer self, const incident_found& m) {
  auto& st = self->state;
  const auto& log = *st.log;
  const auto spec = goal_from_json(json::parse(m.spec_json, nullptr, false));
  const auto events = history(log);
  if (!spec || !events)
    return;
  const auto now = st.context->time->wall();
  const auto incident = incident_of(m, now);
  const auto v = decide_retrain(incident, retrains_of(*events, model_of_version(m.model)), spec->policy.retrain, spec->search.budget, now);
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
    open_goal(self, m, submitter_of(*events, m.goal), v);
  else if (v.action == learner_action::wait && v.after.count() > 0)
    cafx::delayed_send(self, self, v.after, m);
}

learner_agent::behavior_type learner(self_pointer self, const agent_context* context) {
  self->state.context = context;
  self->state.log.emplace(*context, "learner");
  // What was confirmed before this agent, or its predecessor, could answer.
  if (const auto events = history(*self->state.log))
    for (const auto& m : open_incidents(*events))
      cafx::send(self, self, m);
  return {
      [=](const incident_found& m) { decide(self, m); },
  };
}

} // namespace

learner_agent spawn_learner(caf::actor_system& system, const agent_context& context) {
  return spawn_on_own_thread(system, learner, &context);
}

} // namespace flywheel
