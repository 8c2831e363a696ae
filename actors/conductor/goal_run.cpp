#include "actors/conductor/goal_run.hpp"

#include "cluster/base/json.hpp"

#include <algorithm>
#include <limits>

namespace flywheel {

using nlohmann::json;

std::string_view name_of(goal_phase p) noexcept {
  switch (p) {
  case goal_phase::running: return "running";
  case goal_phase::waiting: return "waiting";
  case goal_phase::done: return "done";
  case goal_phase::failed: return "failed";
  case goal_phase::cancelled: return "cancelled";
  }
  return "running";
}

std::string_view name_of(step_run::phase p) noexcept {
  switch (p) {
  case step_run::phase::pending: return "pending";
  case step_run::phase::running: return "running";
  case step_run::phase::retrying: return "retrying";
  case step_run::phase::done: return "done";
  case step_run::phase::failed: return "failed";
  }
  return "pending";
}

namespace {

void apply_step(step_run& s, const event& e, const json& body) {
  const std::string state = body.value("state", "");
  if (state == "started") {
    s.now = step_run::phase::running;
    s.attempt = body.value("attempt", s.attempt + 1);
    if (s.started.ns == 0)
      s.started = e.time;
  } else if (state == "done") {
    s.now = step_run::phase::done;
    s.outputs_json = body.contains("outputs") ? body["outputs"].dump() : "{}";
    s.summary = body.value("summary", "");
    s.ended = e.time;
  } else if (state == "failed" || state == "retrying") {
    s.now = state == "failed" ? step_run::phase::failed : step_run::phase::retrying;
    s.problem = error{errc_from_name(body.value("error", "internal")).value_or(errc::internal),
                      body.value("what", ""), body.value("where", ""), body.value("hint", "")};
    s.retry_at = {body.value("retry_at_ns", std::int64_t{0})};
    s.ended = e.time;
    s.retry_after = nanoseconds{body.value("retry_after_ns", std::numeric_limits<std::int64_t>::max())};
  }
}

std::vector<next_action> only_finish(goal_phase phase, std::string reason) {
  std::vector<next_action> out;
  out.emplace_back(std::in_place_type<finish_goal>, phase, std::move(reason));
  return out;
}

std::optional<goal_phase> phase_from_name(std::string_view name) {
  for (const auto p : {goal_phase::running, goal_phase::waiting, goal_phase::done, goal_phase::failed,
                       goal_phase::cancelled})
    if (name_of(p) == name)
      return p;
  return std::nullopt;
}

} // namespace

void goal_run::apply(const event& e) {
  if (e.goal != id && !id.empty())
    return;
  const json body = json::parse(e.body, nullptr, false);
  if (!body.is_object())
    return;
  switch (e.kind) {
  case event_kind::goal_submitted:
    id = e.goal;
    user = body.value("user", "");
    spec_json = body.contains("spec") ? body["spec"].dump() : "{}";
    spec_digest = body.value("digest", "");
    name = body.contains("spec") ? body["spec"].value("name", "") : "";
    submitted = e.time;
    seq = e.seq;
    break;
  case event_kind::plan_made:
    if (auto p = plan_from_json(body.value("plan", json::object()))) {
      plan = std::move(*p);
      digest = body.value("digest", "");
      for (const auto& s : plan->steps)
        steps.try_emplace(s.id);
    }
    break;
  case event_kind::goal_state:
    if (const auto p = phase_from_name(body.value("state", ""))) {
      phase = *p;
      reason = body.value("reason", "");
      ended = over() ? e.time : wall_time{};
      if (body.value("again", false))
        for (auto& [step, s] : steps)
          if (s.now != step_run::phase::done)
            s.now = step_run::phase::pending;
    }
    break;
  case event_kind::step_state:
    if (!e.step.empty())
      apply_step(steps[e.step], e, body);
    break;
  default: approvals.apply(e); break;
  }
}

void goal_run::forget_running() {
  for (auto& [name_, s] : steps)
    if (s.now == step_run::phase::running)
      s.now = step_run::phase::pending;
}

bool goal_run::over() const noexcept {
  return phase == goal_phase::done || phase == goal_phase::failed || phase == goal_phase::cancelled;
}

std::string goal_run::effect_key(std::string_view step) const { return std::string{step} + "/" + id; }

bool goal_run::is_done(std::string_view step) const {
  const auto i = steps.find(step);
  return i != steps.end() && i->second.now == step_run::phase::done;
}

/// The outputs of everything that `step` waits for, directly or not.
void goal_run::collect_outputs(const plan_step& step, json& outputs) const {
  for (const auto& n : step.needs) {
    if (outputs.contains(n))
      continue;
    outputs[n] = json::parse(steps.find(n)->second.outputs_json, nullptr, false);
    if (const auto* needed = plan->find(n))
      collect_outputs(*needed, outputs);
  }
}

std::vector<next_action> goal_run::decide(wall_time now) const {
  std::vector<next_action> out;
  if (over() || !plan)
    return out;
  bool all_done = true;
  for (const auto& s : plan->steps) {
    const auto& run = steps.find(s.id)->second;
    all_done = all_done && run.now == step_run::phase::done;
    if (run.now == step_run::phase::failed)
      return only_finish(goal_phase::failed, "step " + s.id + " failed: " + run.problem.to_string());
    // A date that was set back makes nobody wait longer than was meant.
    if (run.now == step_run::phase::retrying && run.retry_at > now && run.retry_at - now <= run.retry_after) {
      out.emplace_back(std::in_place_type<wake_at>, run.retry_at);
      continue;
    }
    if (run.now != step_run::phase::pending && run.now != step_run::phase::retrying)
      continue;
    if (!std::all_of(s.needs.begin(), s.needs.end(), [&](const std::string& n) { return is_done(n); }))
      continue;
    json inputs = json::object();
    collect_outputs(s, inputs);
    if (!s.approval.empty()) {
      const auto approval = approval_id(digest, s.approval);
      if (approvals.find(approval) == nullptr) {
        out.emplace_back(std::in_place_type<ask_person>, s.approval);
        continue;
      }
      if (const auto ok = approvals.check(approval, digest, effect_key(s.id), now); !ok) {
        if (ok.error().code != errc::waiting_for_approval)
          return only_finish(goal_phase::failed, "step " + s.id + " was not approved: " + ok.error().what);
        continue;
      }
    }
    out.emplace_back(std::in_place_type<start_step>, s.id, run.attempt + 1, inputs.dump(), !s.approval.empty());
  }
  if (all_done)
    return only_finish(goal_phase::done, "every step is done");
  return out;
}

void goal_table::apply(const event& e) {
  if (e.goal.empty())
    return;
  if (e.kind == event_kind::goal_submitted)
    goals_[e.goal].id = e.goal;
  if (const auto i = goals_.find(e.goal); i != goals_.end())
    i->second.apply(e);
}

goal_run* goal_table::find(std::string_view id) {
  const auto i = goals_.find(id);
  return i == goals_.end() ? nullptr : &i->second;
}
const goal_run* goal_table::find(std::string_view id) const {
  const auto i = goals_.find(id);
  return i == goals_.end() ? nullptr : &i->second;
}

} // namespace flywheel
