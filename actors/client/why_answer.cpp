#include "actors/client/why_answer.hpp"

#include "actors/client/terminal.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace flywheel {

using nlohmann::json;

namespace {

struct names {
  std::map<std::string, std::string> goal_names; ///< id -> name
  std::map<std::string, std::set<std::string>> steps; ///< goal -> steps
  std::map<std::string, std::string> trials, models, approvals, gangs; ///< subject -> goal
};

names collect(const std::vector<event>& events) {
  names n;
  for (const auto& e : events) {
    if (!e.goal.empty() && !e.step.empty() && e.kind == event_kind::step_state)
      n.steps[e.goal].insert(e.step);
    switch (e.kind) {
    case event_kind::goal_submitted: {
      const auto body = json::parse(e.body, nullptr, false);
      n.goal_names[e.goal] = body.is_object() && body.contains("spec") ? body["spec"].value("name", "") : "";
      break;
    }
    case event_kind::trial_state: n.trials[e.subject] = e.goal; break;
    case event_kind::gang_state: n.gangs[e.subject] = e.goal; break;
    case event_kind::model_registered:
      n.models[e.subject] = e.goal;
      n.models[e.subject.substr(0, e.subject.find('/'))] = e.goal;
      break;
    case event_kind::approval_requested: n.approvals[e.subject] = e.goal; break;
    default: break;
    }
  }
  return n;
}

bool about(const event& e, const why_subject& s) {
  if (s.kind == "goal")
    return e.goal == s.goal;
  if (s.kind == "step")
    return e.goal == s.goal && e.step == s.name;
  if (s.kind == "trial" || s.kind == "approval")
    return e.goal == s.goal && (e.subject == s.name || e.text.find(s.name) != std::string::npos ||
                                e.body.find('"' + s.name + '"') != std::string::npos);
  if (s.kind == "gang")
    return e.subject == s.name && (e.kind == event_kind::gang_state || e.kind == event_kind::decision);
  if (s.kind == "model")
    return e.goal == s.goal || e.subject == s.name || e.subject.starts_with(s.name + "/");
  return false;
}

/// Events that shaped the result, as against the record of each small thing.
bool shapes(event_kind k) {
  switch (k) {
  case event_kind::decision:
  case event_kind::goal_submitted:
  case event_kind::goal_state:
  case event_kind::approval_requested:
  case event_kind::approval_granted:
  case event_kind::approval_denied:
  case event_kind::model_registered:
  case event_kind::alias_moved:
  case event_kind::rollout_state:
  case event_kind::incident:
  case event_kind::node_state:
  case event_kind::rehearsal:
  case event_kind::gang_state:
  case event_kind::agent_state: return true;
  default: return false;
  }
}

std::string sentence(std::string text) {
  text = printable(text, 4000);
  if (!text.empty() && text.back() != '.')
    text += '.';
  return text;
}

} // namespace

namespace {

/// Empty for a goal whose beginning is lost (a repaired journal).
std::string name_of_goal(const names& n, const std::string& goal) {
  const auto i = n.goal_names.find(goal);
  return i == n.goal_names.end() ? std::string{} : i->second;
}

} // namespace

std::vector<why_subject> find_subjects(const std::vector<event>& events, const std::string& question) {
  const auto n = collect(events);
  std::vector<why_subject> found;
  if (n.goal_names.contains(question))
    found.push_back({"goal", question, question});
  if (found.empty())
    for (const auto& [id, name] : n.goal_names)
      if (name == question)
        found = {{"goal", id, name}}; // ids sort by time within a name only by luck: the last submitted wins below
  if (!found.empty()) {
    for (const auto& e : events)
      if (e.kind == event_kind::goal_submitted && name_of_goal(n, e.goal) == question)
        found = {{"goal", e.goal, question}};
    return found;
  }
  if (const auto i = n.models.find(question); i != n.models.end())
    return {{"model", i->second, question}};
  if (const auto i = n.gangs.find(question); i != n.gangs.end())
    return {{"gang", i->second, question}};
  if (const auto i = n.trials.find(question); i != n.trials.end())
    return {{"trial", i->second, question}};
  if (const auto i = n.approvals.find(question); i != n.approvals.end())
    return {{"approval", i->second, question}};
  const auto slash = question.find('/');
  for (auto i = n.steps.rbegin(); i != n.steps.rend(); ++i) {
    const auto& [goal, steps] = *i;
    const auto step = slash == std::string::npos ? question : question.substr(slash + 1);
    const auto owner = slash == std::string::npos ? std::string{} : question.substr(0, slash);
    if (steps.contains(step) && (owner.empty() || owner == goal || name_of_goal(n, goal) == owner))
      found.push_back({"step", goal, step});
  }
  return found;
}

std::vector<std::string> known_subjects(const std::vector<event>& events) {
  const auto n = collect(events);
  std::set<std::string> all;
  for (const auto& [id, name] : n.goal_names) {
    all.insert(id);
    all.insert(name);
  }
  for (const auto& [goal, steps] : n.steps)
    all.insert(steps.begin(), steps.end());
  for (const auto* m : {&n.trials, &n.models, &n.approvals, &n.gangs})
    for (const auto& [name, goal] : *m)
      all.insert(name);
  return {all.begin(), all.end()};
}

std::vector<std::string> why(const std::vector<event>& events, const why_subject& subject, const why_options& options) {
  std::vector<std::string> out;
  std::string step;
  for (const auto& e : events) {
    if (!about(e, subject) || (!options.all && subject.kind != "trial" && !shapes(e.kind)))
      continue;
    const json body = json::parse(e.body, nullptr, false);
    if (!body.is_object())
      continue;
    if (e.step != step && !e.step.empty() && subject.kind != "step") {
      step = e.step;
      out.push_back("");
      out.push_back(painted(step, ink::bold, options.colour));
    }
    const std::string place = "  [" + std::to_string(e.seq) + "] ";
    if (e.kind == event_kind::decision) {
      const std::string who = e.actor;
      const auto choice = body.value("choice", "");
      out.push_back(place + sentence(e.text == choice ? who + " decided to " + choice : who + " decided: " + e.text));
      out.push_back("      Because " + sentence(body.value("reason", "")));
      for (const auto& r : body.value("rejected", json::array()))
        if (r.is_object())
          out.push_back("      Not " + r.value("what", "") + ": " + sentence(r.value("why", "")));
      if (options.all && body.contains("evidence"))
        out.push_back("      Evidence: " + printable(body["evidence"].dump(), 4000));
    } else if (!e.text.empty()) {
      out.push_back(place + sentence(e.text));
      if (options.all && e.body != "{}" && e.kind != event_kind::goal_submitted && e.kind != event_kind::plan_made)
        out.push_back("      Evidence: " + printable(e.body, 1500));
    }
  }
  if (!out.empty() && out.front().empty())
    out.erase(out.begin());
  return out;
}

} // namespace flywheel
