#include "actors/protocol/agent_context.hpp"

#include "cluster/base/json.hpp"

namespace flywheel {

using nlohmann::json;

event_draft scribe::draft(event_kind kind, std::string goal, std::string step, std::string subject, std::string text,
                          const json& body) const {
  event_draft d;
  d.kind = kind;
  d.goal = std::move(goal);
  d.step = std::move(step);
  d.subject = std::move(subject);
  d.actor = actor_;
  d.text = std::move(text);
  d.body = body.is_null() ? "{}" : body.dump(-1, ' ', false, json::error_handler_t::replace);
  d.epoch = context_->epoch;
  return d;
}

event_draft scribe::decision(std::string goal, std::string step, std::string choice, std::string reason,
                             const json& evidence, const json& rejected) const {
  json body{{"choice", choice}, {"reason", std::move(reason)}, {"evidence", evidence}};
  if (!rejected.empty())
    body["rejected"] = rejected;
  return draft(event_kind::decision, std::move(goal), std::move(step), {}, std::move(choice), body);
}

result<std::uint64_t> scribe::write(std::vector<event_draft> drafts) const {
  return context_->log->append(std::move(drafts));
}
result<std::uint64_t> scribe::write(event_draft d) const { return context_->log->append(std::move(d)); }

result<std::vector<event>> scribe::read(const journal_filter& filter) const { return context_->log->read(filter); }

result<std::string> perform_effect(const scribe& s, const std::string& goal, const std::string& step,
                                   const std::string& key, const std::string& text, const json& intent,
                                   const std::function<result<json>()>& act) {
  journal_filter earlier;
  earlier.key = key;
  earlier.kinds = {event_kind::effect_done};
  FLYWHEEL_TRY(const auto done, s.read(earlier));
  if (!done.empty())
    return done.back().body;

  auto intended = s.draft(event_kind::effect_intended, goal, step, {}, text, intent);
  intended.key = key;
  if (auto seq = s.write(std::move(intended)); !seq)
    return std::move(seq).error().in("recording the intent of " + key);

  auto outcome = act();
  if (!outcome) {
    auto failed = s.draft(event_kind::effect_failed, goal, step, {}, text + " failed",
                          json{{"error", std::string{name_of(outcome.error().code)}}, {"what", outcome.error().what}});
    failed.key = key;
    if (auto seq = s.write(std::move(failed)); !seq)
      return std::move(seq).error().in("recording the failure of " + key);
    return std::move(outcome).error();
  }
  auto finished = s.draft(event_kind::effect_done, goal, step, {}, text, *outcome);
  finished.key = key;
  std::string body = finished.body;
  if (auto seq = s.write(std::move(finished)); !seq)
    return std::move(seq).error().in("recording the outcome of " + key);
  return body;
}

result<json> steps_done(const scribe& log, const std::string& goal) {
  journal_filter filter;
  filter.goal = goal;
  filter.kinds = {event_kind::step_state};
  FLYWHEEL_TRY(const auto events, log.read(filter));
  json out = json::object();
  for (const auto& e : events) {
    const auto body = json::parse(e.body, nullptr, false);
    if (body.is_object() && body.value("state", "") == "done" && body.contains("outputs"))
      out[e.step] = body["outputs"];
  }
  return out;
}

} // namespace flywheel
