#include "actors/client/event_view.hpp"

#include "actors/client/terminal.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "models/task.hpp"

#include <algorithm>

namespace flywheel {

using nlohmann::json;

namespace {

std::string indented(const std::string& text) { return "    " + text; }

/// What was considered and not done, one line each.
void add_rejected(std::vector<std::string>& out, const json& body) {
  for (const auto& r : body.value("rejected", json::array()))
    if (r.is_object())
      out.push_back(indented("not " + printable(r.value("what", ""), 200) + ": " + printable(r.value("why", ""), 400)));
}

} // namespace

std::vector<std::string> event_view::lines(const event& e) {
  std::vector<std::string> out;
  const json body = json::parse(e.body, nullptr, false);
  if (!body.is_object())
    return out;
  const bool colour = options_.colour;
  const auto text = printable(e.text, 2000);
  switch (e.kind) {
  case event_kind::goal_submitted:
    out.push_back(painted("goal " + e.goal, ink::bold, colour));
    if (const json::json_pointer at{"/spec/metric/name"}; body.contains(at) && body[at].is_string())
      if (const auto metric = metric_from_name(body[at].get<std::string>()))
        maximise_ = higher_is_better(*metric);
    if (const json::json_pointer at{"/spec/search/budget/trials"}; body.contains(at) && body[at].is_number_unsigned())
      trials_total_ = body[at];
    break;
  case event_kind::step_state: {
    const auto state = body.value("state", "");
    if (state == "started") {
      running_[e.step] = {e.time};
      out.push_back(painted("> " + e.step, ink::bold, colour) + "  " + text);
    } else {
      std::string took;
      if (const auto i = running_.find(e.step); i != running_.end()) {
        took = " (" + format_duration(e.time - i->second.started) + ")";
        running_.erase(i);
      }
      const bool done = state == "done";
      out.push_back(painted(done ? "ok " : state == "retrying" ? "again " : "FAILED ",
                            done ? ink::green : state == "retrying" ? ink::yellow : ink::red, colour) +
                    text + took);
      if (const auto hint = body.value("hint", ""); !hint.empty())
        out.push_back(indented(printable(hint, 500)));
    }
    break;
  }
  case event_kind::decision:
    out.push_back("  " + painted("decided", ink::dim, colour) + " " + text);
    out.push_back(indented("because " + printable(body.value("reason", ""), 2000)));
    add_rejected(out, body);
    break;
  case event_kind::trial_state: {
    const auto state = body.value("state", "");
    if (state == "created") {
      if (first_trial_.ns == 0)
        first_trial_ = e.time;
      if (const auto i = running_.find(e.step); i != running_.end())
        i->second.has_trials = true;
    }
    if (state == "completed" || state == "pruned" || state == "failed")
      ++trials_ended_;
    if (state == "completed" && body.contains("value") && body["value"].is_number()) {
      const double value = body["value"];
      const bool better = !has_best_ || (maximise_ ? value > best_value_ : value < best_value_);
      if (better) {
        has_best_ = true;
        best_value_ = value;
        best_ = printable(e.subject, 80) + " " + format_number(value);
      }
    }
    if (options_.verbose || state == "failed")
      out.push_back(indented(text));
    break;
  }
  case event_kind::approval_requested:
    if (body.value("in_advance", false))
      break; // the grant follows at once
    out.push_back(painted("WAITING ", ink::yellow, colour) + text);
    out.push_back(indented("to approve:  flywheel approve " + e.subject));
    out.push_back(indented("to refuse:   flywheel deny " + e.subject + " --reason '...'"));
    break;
  case event_kind::approval_granted:
  case event_kind::approval_denied:
  case event_kind::model_registered:
  case event_kind::alias_moved:
  case event_kind::rollout_state:
  case event_kind::incident: out.push_back("  " + text); break;
  case event_kind::goal_state:
    if (const auto state = body.value("state", ""); state == "done" || state == "failed" || state == "cancelled")
      out.push_back(painted(text, state == "done" ? ink::green : ink::red, colour));
    break;
  case event_kind::node_state:
  case event_kind::rehearsal:
  case event_kind::gang_state:
  case event_kind::agent_state: out.push_back(painted("  " + text, ink::yellow, colour)); break;
  case event_kind::plan_made:
  case event_kind::effect_intended:
  case event_kind::effect_done:
  case event_kind::effect_failed:
  case event_kind::trial_report:
  case event_kind::budget_reserved:
  case event_kind::budget_settled:
  case event_kind::approval_used:
  case event_kind::observation:
  case event_kind::note:
    if (options_.verbose && !text.empty())
      out.push_back(indented(text));
    break;
  }
  return out;
}

progress_view event_view::progress(wall_time now) const {
  progress_view v;
  bool trials = false;
  for (const auto& [step, r] : running_) {
    v.what += (v.what.empty() ? "" : " + ") + step;
    trials = trials || r.has_trials;
  }
  if (!trials)
    return v;
  if (!best_.empty())
    v.what += ", best " + best_;
  v.done = trials_ended_;
  v.total = std::max(trials_total_, trials_ended_);
  v.elapsed = now - first_trial_;
  return v;
}

} // namespace flywheel
