#pragma once
// A goal's history in a few lines, for what reads it.

#include "cluster/base/json.hpp"
#include "cluster/journal/event.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace flywheel::testing {

struct goal_history {
  static constexpr wall_time start{1'700'000'000'000'000'000};
  std::vector<event> events;

  event& add(event_kind kind, std::string goal, std::string step, std::string subject, std::string text,
             const nlohmann::json& body = nlohmann::json::object()) {
    event e;
    e.kind = kind;
    e.goal = std::move(goal);
    e.step = std::move(step);
    e.subject = std::move(subject);
    e.actor = "hpo";
    e.text = std::move(text);
    e.body = body.dump();
    e.seq = events.size() + 1;
    e.time = start + std::chrono::seconds{static_cast<std::int64_t>(events.size())};
    events.push_back(std::move(e));
    return events.back();
  }
  event& submitted(std::string goal, std::string name, std::string metric = "accuracy") {
    return add(event_kind::goal_submitted, goal, "", goal, "ana submitted goal " + name,
               {{"user", "ana"}, {"digest", "d"},
                {"spec", {{"name", name}, {"metric", {{"name", metric}, {"threshold", 0.95}}}}}});
  }
  event& step(std::string goal, std::string step, std::string state, const nlohmann::json& more = nlohmann::json::object()) {
    nlohmann::json body = more;
    body["state"] = state;
    return add(event_kind::step_state, goal, step, step, step + " " + state, body);
  }
  event& trial(std::string goal, std::string trial, std::string state, double value = 0) {
    return add(event_kind::trial_state, goal, "search", trial, trial + " " + state, {{"state", state}, {"value", value}});
  }
};

} // namespace flywheel::testing
