#include "actors/learner/learner_policy.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {
namespace {

constexpr nanoseconds day = std::chrono::hours{24};
/// After so many failed retrains in a row the cause lies elsewhere.
constexpr std::size_t failures_to_escalate = 2;
/// If so many features shift at once, the source of the data has changed more likely than the world.
constexpr double most_features = 0.8;
constexpr std::size_t enough_features_to_tell = 5;

/// How long ago, never negative: a clock that was set back must not open the gates.
nanoseconds age(wall_time t, wall_time now) { return std::max(now - t, nanoseconds{0}); }

std::string seconds_text(nanoseconds d) {
  return std::to_string(std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::seconds>(d).count())) + "s";
}

} // namespace

std::string_view name_of(learner_action a) noexcept {
  switch (a) {
  case learner_action::retrain: return "retrain";
  case learner_action::wait: return "wait";
  case learner_action::escalate: return "escalate";
  }
  return "?";
}

learner_verdict decide_retrain(const drift_incident& incident, std::span<const retrain_record> history,
                               const retrain_spec& policy, const search_budget& budget, wall_time now) {
  using state = retrain_record::state;
  const auto escalate = [](std::string reason) { return learner_verdict{learner_action::escalate, {}, std::move(reason), {}}; };
  const auto wait = [](std::string reason, nanoseconds after = {}) {
    return learner_verdict{learner_action::wait, after, std::move(reason), {}};
  };

  std::vector<retrain_record> records(history.begin(), history.end());
  std::stable_sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.started < b.started; });

  for (const auto& r : records) {
    if (r.phase == state::running)
      return wait("goal " + r.goal + " is retraining this model already");
    if (r.incident == incident.id && r.phase == state::succeeded)
      return wait("goal " + r.goal + " has answered incident " + incident.id + " with a new model");
    if (r.incident == incident.id && r.phase == state::cancelled)
      return escalate("goal " + r.goal + ", which was to answer incident " + incident.id +
                      ", was cancelled; whether to try again is for the one who cancelled it to say");
  }
  if (!policy.automatic)
    return escalate("retraining without a person is switched off (policy.retrain.automatic): " + incident.reason);
  if (policy.per_day_max == 0)
    return escalate("no retrain is allowed (policy.retrain.per_day_max is 0): " + incident.reason);
  if (!(policy.budget_fraction > 0) || !(budget.slot_seconds > 0) || budget.trials == 0)
    return escalate("a retrain goal would have no budget (policy.retrain.budget_fraction): " + incident.reason);
  if (incident.features >= enough_features_to_tell &&
      static_cast<double>(incident.features_shifted) >= most_features * static_cast<double>(incident.features))
    return escalate(std::to_string(incident.features_shifted) + " of " + std::to_string(incident.features) +
                    " features shifted at once, which looks like a change at the source of the data; retraining would learn "
                    "the fault");

  std::size_t failures = 0;
  for (auto r = records.rbegin(); r != records.rend() && r->phase == state::failed; ++r)
    ++failures;
  if (failures >= failures_to_escalate)
    return escalate("the last " + std::to_string(failures) + " retrain goals failed (the latest: " + records.back().goal +
                    "), so another would do the same");

  const auto today = static_cast<std::uint64_t>(
      std::count_if(records.begin(), records.end(), [&](const auto& r) { return age(r.started, now) < day; }));
  if (today >= policy.per_day_max) {
    const std::string used = std::to_string(today) + " retrains in the last 24 hours are all that policy.retrain.per_day_max allows";
    if (std::find(incident.subjects.begin(), incident.subjects.end(), "accuracy") != incident.subjects.end())
      return escalate(used + ", and the accuracy is falling: " + incident.reason);
    // The oldest that must leave the last day for one more to fit.
    const auto& leaves = records[records.size() - static_cast<std::size_t>(policy.per_day_max)];
    return wait(used, day - age(leaves.started, now));
  }
  if (!records.empty()) {
    wall_time last = records.front().ended;
    for (const auto& r : records)
      last = std::max({last, r.started, r.ended});
    if (const auto since = age(last, now); since < policy.cooldown)
      return wait("the last retrain ended " + format_duration(since) + " ago; policy.retrain.cooldown asks for " +
                      format_duration(policy.cooldown) + " between two",
                  policy.cooldown - since);
  }

  const double fraction = std::min(policy.budget_fraction, 1.0);
  learner_verdict v;
  v.action = learner_action::retrain;
  const auto trials = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::floor(static_cast<double>(budget.trials) * fraction)));
  const auto wall = nanoseconds{static_cast<std::int64_t>(static_cast<double>(budget.wall_time.count()) * fraction)};
  v.overrides = {{"search.budget.trials", std::to_string(trials)},
                 {"search.budget.wall_time", seconds_text(wall)},
                 {"search.budget.slot_seconds", format_number(budget.slot_seconds * fraction)},
                 // A retrain goal must not watch and retrain on its own: the goal that owns the model does.
                 {"policy.retrain.automatic", "false"}};
  v.reason = "a retrain goal with " + format_percent(fraction, 0) + " of the search budget (" + std::to_string(trials) +
             " trials) answers incident " + incident.id + ": " + incident.reason;
  return v;
}

} // namespace flywheel
