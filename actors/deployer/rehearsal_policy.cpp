#include "actors/deployer/rehearsal_policy.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {
namespace {

using nlohmann::json;

std::string state_of(const event& e) {
  const auto body = json::parse(e.body, nullptr, false);
  const auto state = body.is_object() ? body.find("state") : body.end();
  return body.is_object() && state != body.end() && state->is_string() ? state->get<std::string>() : std::string{};
}

} // namespace

rehearsal_verdict judge_rehearsals(const std::vector<rehearsal_rule>& rules, const std::vector<event>& rehearsals, wall_time now) {
  rehearsal_verdict v;
  const auto say = [&](bool passed, const std::string& sentence) {
    v.passed = v.passed && passed;
    v.reason += (v.reason.empty() ? "" : "; ") + sentence;
  };
  for (const auto& rule : rules) {
    const auto name = "rehearsal " + rule.experiment + (rule.digest.empty() ? "" : " (" + rule.digest.substr(0, 12) + ")");
    const event* last = nullptr;
    for (const auto& e : rehearsals)
      if (e.kind == event_kind::rehearsal && e.subject == rule.experiment && e.key.starts_with(rule.digest) && state_of(e) != "began")
        last = &e;
    if (last == nullptr) {
      say(false, name + " was never run here");
      continue;
    }
    const auto age = now - last->time;
    const auto entry = "entry " + std::to_string(last->seq);
    if (state_of(*last) != "kept")
      say(false, name + " was not passed the last time (" + entry + ": " + state_of(*last) + ")");
    else if (age > rule.max_age)
      say(false, name + " was passed " + format_duration(age) + " ago (" + entry + "), and at most " + format_duration(rule.max_age) + " are allowed");
    else {
      say(true, name + " was passed " + format_duration(std::max(age, nanoseconds{0})) + " ago (" + entry + ")");
      v.seqs.push_back(last->seq);
    }
  }
  return v;
}

} // namespace flywheel
