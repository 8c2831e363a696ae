#include "actors/hpo/study_table.hpp"

#include "actors/hpo/halving_pruner.hpp"
#include "actors/hpo/study_format.hpp"
#include "cluster/base/assert.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/statistics/distributions.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace flywheel {
namespace {

std::string short_number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", x);
  return text;
}

std::string plural(std::uint64_t n, const std::string& word) {
  return std::to_string(n) + " " + word + (n == 1 ? "" : "s");
}

nanoseconds from_seconds(double s) {
  return nanoseconds{s > 0 && std::isfinite(s) ? std::llround(std::min(s, 4e9) * 1e9) : 0};
}

/// The last rung a trial reached, by number.
const trial_record::rung_report* last_report(const trial_record& t) {
  const auto it = std::max_element(t.reports.begin(), t.reports.end(),
                                   [](const auto& a, const auto& b) { return a.at.rung < b.at.rung; });
  return it == t.reports.end() ? nullptr : &*it;
}

} // namespace

study_table::study_table(study_config config) : config_(std::move(config)), ledger_(config_.budget) {
  const auto checked = check_config(config_);
  FLYWHEEL_ASSERT(checked.ok(), "a study_table was made from a configuration that check_config() refuses");
  if (config_.rungs.empty())
    config_.rungs = {config_.resource_max};
  sampler_ = std::move(make_sampler(config_.sampler)).value();
}

// --- what is so ---------------------------------------------------------------------------------------------------------

const trial_record* study_table::find(const std::string& trial) const {
  for (const auto& [number, t] : trials_)
    if (t.id == trial)
      return &t;
  return nullptr;
}

trial_record* study_table::find_mutable(const std::string& trial) { return const_cast<trial_record*>(find(trial)); }

status study_table::unknown(const std::string& trial) const {
  return {errc::invalid_format,
          "an event about trial \"" + printable(trial, 80) + "\", which study " + config_.study + " never created"};
}

std::string study_table::trial_id(std::uint32_t number) const {
  char text[16];
  std::snprintf(text, sizeof text, "-%04u", number);
  return config_.study + text;
}

study_counts study_table::counts() const noexcept {
  study_counts c;
  for (const auto& [number, t] : trials_) {
    ++c.created;
    ++(t.how == trial_outcome::running     ? c.running
       : t.how == trial_outcome::completed ? c.completed
       : t.how == trial_outcome::pruned    ? c.pruned
                                           : c.failed);
  }
  return c;
}

nanoseconds study_table::active(wall_time now) const noexcept {
  return earlier_ + (session_ ? std::max(seen_, now) - *session_ : nanoseconds{0});
}

const trial_record* study_table::best() const {
  const trial_record* best = nullptr;
  for (const auto& [number, t] : trials_) {
    const bool candidate = (t.how == trial_outcome::completed || (t.how == trial_outcome::pruned && t.resource > 0)) &&
                           std::isfinite(t.value);
    if (!candidate)
      continue;
    if (!best || (t.how == trial_outcome::completed) != (best->how == trial_outcome::completed)) {
      if (!best || t.how == trial_outcome::completed)
        best = &t;
      continue;
    }
    if (t.how == trial_outcome::pruned && t.resource != best->resource) {
      if (t.resource > best->resource)
        best = &t;
      continue;
    }
    if (better(t.value, best->value))
      best = &t;
  }
  return best;
}

study_verdict study_table::verdict() const {
  study_verdict v;
  if (end_) {
    v.why = end_->why;
    v.reason = end_->reason;
  }
  if (const auto* t = best())
    v.best = *t;
  v.counts = counts();
  v.spent = ledger_.spent();
  return v;
}

sampler_history study_table::history() const {
  sampler_history h;
  h.maximise = config_.maximise;
  h.trials = config_.known;
  for (const auto& [number, t] : trials_)
    h.trials.push_back({number, t.params, t.how, t.value, t.resource});
  return h;
}

// --- when to end --------------------------------------------------------------------------------------------------------

std::optional<study_table::end_cause> study_table::failing() const {
  if (config_.stop.failures_max == 0)
    return std::nullopt;
  std::uint32_t row = 0;
  const trial_record* last = nullptr;
  for (const auto& [number, t] : trials_) {
    if (t.how == trial_outcome::running)
      continue;
    row = t.how == trial_outcome::failed ? row + 1 : 0;
    last = &t;
  }
  if (row < config_.stop.failures_max)
    return std::nullopt;
  return end_cause{study_end::failing, "the last " + plural(row, "trial") + " all failed; the latest: " + last->ending};
}

std::optional<study_table::end_cause> study_table::good_enough() const {
  const auto* t = best();
  if (!config_.stop.good_enough || !t || t->how != trial_outcome::completed || t->fold_values.size() < 2)
    return std::nullopt;
  const double goal = *config_.stop.good_enough;
  const double reach = t->standard_error * student_t_quantile(config_.stop.confidence,
                                                              static_cast<double>(t->fold_values.size() - 1));
  const double bound = config_.maximise ? t->value - reach : t->value + reach;
  if (!std::isfinite(bound) || better(goal, bound))
    return std::nullopt;
  return end_cause{study_end::good_enough,
                   t->id + " reaches " + short_number(t->value) + ", with " +
                       format_percent(config_.stop.confidence, 0) + " confidence no worse than " + short_number(bound) +
                       "; " + short_number(goal) + " was asked for"};
}

std::optional<study_table::end_cause> study_table::out_of_time(wall_time now) const {
  const auto used = active(now);
  if (used >= config_.budget.wall_time)
    return end_cause{study_end::wall_time, "the wall time of the budget, " + format_duration(config_.budget.wall_time) +
                                               ", is used up"};
  return std::nullopt;
}

std::optional<study_table::end_cause> study_table::out_of_patience() const {
  if (config_.stop.patience == 0)
    return std::nullopt;
  const trial_record* best = nullptr;
  std::uint32_t since = 0;
  for (const auto& [number, t] : trials_) {
    if (t.how == trial_outcome::running)
      continue;
    const double margin = config_.maximise ? config_.stop.improvement_min : -config_.stop.improvement_min;
    if (t.how == trial_outcome::completed && (!best || better(t.value, best->value + margin))) {
      best = &t;
      since = 0;
    } else if (best) {
      ++since;
    }
  }
  if (since < config_.stop.patience)
    return std::nullopt;
  return end_cause{study_end::patience, plural(since, "trial") + " in a row did not improve on " +
                                            short_number(best->value) + " of " + best->id};
}

std::optional<study_table::end_cause> study_table::out_of_trials() const {
  if (ledger_.left().trials > 0)
    return std::nullopt;
  return end_cause{study_end::trials, "all " + plural(ledger_.trial_limit(), "trial") + " of the budget are used"};
}

/// Reasons for which no trial may even go on.
std::optional<study_table::end_cause> study_table::cause_to_end(wall_time now) const {
  for (auto cause : {failing(), good_enough(), out_of_time(now)})
    if (cause)
      return cause;
  return std::nullopt;
}

// --- what to do ---------------------------------------------------------------------------------------------------------

study_action study_table::next(wall_time now) const {
  if (end_) {
    study_action a;
    a.what = study_action::kind::finished;
    a.reason = end_->reason;
    return a;
  }
  if (const auto cause = cause_to_end(now)) {
    for (const auto& [number, t] : trials_) {
      if (t.how != trial_outcome::running)
        continue;
      if (!live_.contains(number))
        return close_lost(t, "the study ended: " + cause->reason);
      if (!t.stopping)
        return stop_running(t, *cause);
    }
    return counts().running > 0 ? wait(now, "the stopped trials are ending") : finish(*cause);
  }
  for (const auto& [number, t] : trials_)
    if (t.how == trial_outcome::running && !live_.contains(number))
      return t.stopping ? close_lost(t, "it was being stopped when its worker was lost") : start_again(t, now);
  if (counts().running >= config_.parallel)
    return wait(now, plural(counts().running, "trial") + " running");
  return start_new(now);
}

study_action study_table::start_new(wall_time now) const {
  const auto end_or_wait = [&](const end_cause& cause) {
    return counts().running > 0 ? wait(now, "no new trial: " + cause.reason) : finish(cause);
  };
  for (const auto& cause : {out_of_patience(), out_of_trials()})
    if (cause)
      return end_or_wait(*cause);

  const auto wall_left = config_.budget.wall_time - active(now);
  if (const auto typical = typical_time(); typical && wall_left < *typical)
    return end_or_wait({study_end::wall_time, "a trial takes about " + format_duration(*typical) + " and only " +
                                                  format_duration(wall_left) + " of the wall time are left"});
  std::string why_not;
  const auto amount = affordable(1, why_not);
  if (!amount)
    return end_or_wait({study_end::slot_time, why_not});

  const auto number = static_cast<std::uint32_t>(trials_.size() + 1);
  auto chosen = choose(number);
  if (chosen.exhausted)
    return end_or_wait({study_end::exhausted, chosen.reason});

  trial_record t;
  t.id = trial_id(number);
  t.number = number;
  t.params = std::move(chosen.params);
  t.source = chosen.source;
  t.reason = chosen.reason;
  study_action a;
  a.reason = t.id + " starts: " + t.reason;
  a.drafts.push_back(draft(event_kind::trial_state, t.id, "trial " + t.id + " is created: " + t.reason,
                           study_format::write(study_format::created{number, t.params, t.source, t.reason},
                                               config_.study)));
  put_start(a, t, 1, *amount, now);
  return a;
}

study_action study_table::start_again(const trial_record& t, wall_time now) const {
  if (t.fruitless >= config_.attempts_max)
    return close_lost(t, "its worker was lost in each of " + plural(t.fruitless, "attempt") + " in a row");
  // The lost attempt is charged what it is known to have used, and the new one reserves anew.
  study_action a;
  const auto reserved = ledger_.open(key_of(t, t.attempt));
  const auto lost = lost_.contains(t.number) ? lost_.at(t.number) * config_.slots_per_trial : nanoseconds{0};
  study_format::settled paid{{reserved.trials, std::min(lost, reserved.slots)}};
  std::string why_not;
  auto then = *this;
  const auto settled = then.ledger_.settle(key_of(t, t.attempt), paid.amount);
  const auto amount = then.affordable(0, why_not);
  if (!settled.ok() || !amount)
    return close_lost(t, "its worker was lost, and there is no budget to start it again: " + why_not);
  auto pay = draft(event_kind::budget_settled, t.id,
                   "the lost attempt of " + t.id + " is charged " + format_duration(paid.amount.slots),
                   study_format::write(paid, config_.study));
  pay.key = key_of(t, t.attempt);
  a.drafts.push_back(std::move(pay));
  a.reason = t.id + " starts again from its checkpoint: its worker was lost (attempt " + std::to_string(t.attempt + 1) +
             ")";
  put_start(a, t, t.attempt + 1, *amount, now);
  return a;
}

void study_table::put_start(study_action& a, const trial_record& t, std::uint32_t attempt, const budget_use& amount,
                            wall_time now) const {
  const auto wall_left = std::max(nanoseconds{1}, config_.budget.wall_time - active(now));
  a.what = study_action::kind::start;
  a.spec = spec_of(t);
  a.attempt = attempt;
  a.time_max = std::min({config_.trial_time_max, wall_left,
                         std::max(nanoseconds{1}, amount.slots / config_.slots_per_trial - config_.kill_grace)});
  auto reserve = draft(event_kind::budget_reserved, t.id,
                       t.id + " reserves " + format_duration(amount.slots) + " of slot time",
                       study_format::write(study_format::reserved{amount}, config_.study));
  reserve.key = key_of(t, attempt);
  a.drafts.push_back(std::move(reserve));
  a.drafts.push_back(draft(event_kind::trial_state, t.id, a.reason,
                           study_format::write(study_format::running{attempt, a.time_max}, config_.study)));
}

study_action study_table::close_lost(const trial_record& t, std::string why) const {
  study_format::ended e;
  const auto* report = last_report(t);
  e.how = t.stopping || report ? trial_outcome::pruned : trial_outcome::failed;
  if (report) {
    e.value = report->at.value;
    e.standard_error = report->at.standard_error;
    e.resource = report->at.resource;
  }
  if (e.how == trial_outcome::failed)
    e.cause = error{errc::worker_lost, why};
  e.reason = std::move(why);
  const auto used = lost_.contains(t.number) ? lost_.at(t.number) : nanoseconds{0};
  e.seconds = std::chrono::duration<double>(used).count();
  study_action a;
  a.what = study_action::kind::record;
  a.reason = t.id + " ends: " + e.reason;
  a.drafts = ending(t, std::move(e), used);
  return a;
}

study_action study_table::stop_running(const trial_record& t, const end_cause& cause) const {
  study_action a;
  a.what = study_action::kind::stop;
  a.spec = spec_of(t);
  a.attempt = t.attempt;
  a.reason = "stop " + t.id + ": " + cause.reason;
  a.drafts.push_back(draft(event_kind::decision, t.id, a.reason,
                           study_format::write(study_format::stop_trial{t.id, cause.reason}, config_.study)));
  return a;
}

study_action study_table::finish(const end_cause& cause) const {
  study_action a;
  a.what = study_action::kind::finished;
  a.reason = cause.reason;
  const auto c = counts();
  nlohmann::json more{{"evidence",
                       {{"created", c.created},
                        {"completed", c.completed},
                        {"pruned", c.pruned},
                        {"failed", c.failed},
                        {"slot_seconds", std::chrono::duration<double>(ledger_.spent().slots).count()}}},
                      {"rejected", nlohmann::json::array()}};
  std::string text = "study " + config_.study + " ends without a usable trial: " + cause.reason;
  if (const auto* t = best()) {
    more["choice"] = t->id;
    more["evidence"]["value"] = t->value;
    more["evidence"]["standard_error"] = std::isfinite(t->standard_error) ? t->standard_error : 0.0;
    more["evidence"]["params"] = to_json(t->params);
    text = "study " + config_.study + " ends with " + t->id + " at " + short_number(t->value) + " (" +
           plural(c.completed, "trial") + " completed, " + std::to_string(c.pruned) + " pruned, " +
           std::to_string(c.failed) + " failed): " + cause.reason;
  } else {
    more["choice"] = "none";
  }
  a.drafts.push_back(draft(event_kind::decision, config_.study, text,
                           study_format::write(study_format::finished{cause.why, cause.reason}, config_.study,
                                               more.dump())));
  return a;
}

study_action study_table::wait(wall_time now, std::string reason) const {
  study_action a;
  a.what = study_action::kind::wait;
  a.reason = std::move(reason);
  if (const auto left = config_.budget.wall_time - active(now); left > nanoseconds{0})
    a.look_again = left;
  return a;
}

suggestion study_table::choose(std::uint32_t number) const {
  if (number <= config_.planned.size()) {
    const auto& p = config_.planned[number - 1];
    return {p.params, "planned", p.reason, false};
  }
  return sampler_->propose(config_.space, history(), config_.seed, number);
}

trial_spec study_table::spec_of(const trial_record& t) const {
  trial_spec s;
  s.trial = t.id;
  s.family = config_.family;
  s.params = t.params;
  s.folds = config_.folds;
  s.resource_max = config_.resource_max;
  s.rungs = config_.rungs;
  s.seed = config_.seed; // one seed for all: trials are compared on the same folds
  s.threads = config_.slots_per_trial;
  return s;
}

/// The middle of the completed trials' times on a slot; nothing before the first.
std::optional<nanoseconds> study_table::typical_time() const {
  std::vector<double> seconds;
  for (const auto& [number, t] : trials_)
    if (t.how == trial_outcome::completed)
      seconds.push_back(t.seconds);
  if (seconds.empty())
    return std::nullopt;
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return from_seconds(*middle);
}

/// What a trial may reserve: its full time if there is enough, else an even share for each idle place, so that the last
/// seconds of a budget are used side by side; nothing if even a typical trial would not fit.
std::optional<budget_use> study_table::affordable(std::uint64_t trials, std::string& why_not) const {
  const auto slots = static_cast<std::int64_t>(config_.slots_per_trial);
  const auto full = (config_.trial_time_max + config_.kill_grace) * slots;
  const auto needed = (typical_time().value_or(nanoseconds{0}) + config_.kill_grace) * slots;
  const auto left = ledger_.left().slots;
  if (left <= needed) {
    why_not = format_duration(left) + " of " + format_duration(ledger_.slot_limit()) +
              " slot time are left, and a trial needs about " + format_duration(needed);
    return std::nullopt;
  }
  const auto idle = std::max<std::int64_t>(1, static_cast<std::int64_t>(config_.parallel) -
                                                  static_cast<std::int64_t>(live_.size()));
  const auto share = left / idle;
  return budget_use{trials, std::min(full, share > needed ? share : left)};
}

// --- what comes back ----------------------------------------------------------------------------------------------------

rung_verdict study_table::on_report(const std::string& trial, std::uint32_t attempt, const trial_report& report,
                                    wall_time now) const {
  rung_verdict v;
  const auto* t = find(trial);
  if (!t || t->how != trial_outcome::running || attempt != t->attempt) {
    v.go_on = false;
    v.reason = "no such attempt is running";
    return v;
  }
  for (const auto& r : t->reports)
    if (r.at.rung == report.rung) {
      v.go_on = r.go_on && !t->stopping;
      v.reason = r.reason;
      return v;
    }
  if (t->stopping || end_ || cause_to_end(now)) {
    v.go_on = false;
    v.reason = "stopped: the study is ending";
  } else {
    std::vector<double> earlier;
    for (const auto& [number, other] : trials_)
      for (const auto& r : other.reports)
        if (number != t->number && r.at.rung == report.rung)
          earlier.push_back(r.at.value);
    const bool last = report.rung + 1 >= config_.rungs.size();
    auto judged = judge_halving(last ? std::vector<double>{} : earlier, report.value, config_.maximise,
                                config_.pruner == "halving" ? config_.eta : 1);
    v.go_on = judged.go_on;
    v.reason = !judged.go_on                  ? std::move(judged.reason)
               : last                         ? "done: this is the last rung"
               : config_.pruner == "halving"  ? std::move(judged.reason)
                                              : "goes on: this study prunes nothing";
  }
  v.drafts.push_back(draft(event_kind::trial_report, t->id,
                           t->id + " is at " + short_number(report.value) + " after " +
                               std::to_string(report.resource) + ": " + v.reason,
                           study_format::write(study_format::report{attempt, report, v.go_on, v.reason},
                                               config_.study)));
  return v;
}

std::vector<event_draft> study_table::on_end(const std::string& trial, std::uint32_t attempt,
                                             const trial_result& result) const {
  const auto* t = find(trial);
  if (!t || t->how != trial_outcome::running || attempt != t->attempt)
    return {};
  study_format::ended e;
  e.seconds = result.seconds;
  e.fold_values = result.fold_values;
  e.standard_error = result.last.standard_error;
  if (result.how == trial_result::end::completed) {
    e.how = trial_outcome::completed;
    e.value = result.best_value;
    e.resource = result.best_resource > 0 ? result.best_resource : result.last.resource;
    e.reason = "completed: " + short_number(e.value) + " (standard error " + short_number(e.standard_error) + ") at " +
               std::to_string(e.resource) + " of " + std::to_string(config_.resource_max);
  } else {
    const auto* report = last_report(*t);
    e.how = trial_outcome::pruned;
    e.value = result.last.value;
    e.resource = result.last.resource;
    e.reason = t->stopping                                  ? "stopped: the study is ending"
               : report && !report->go_on                   ? report->reason
               : result.how == trial_result::end::stopped   ? "stopped from outside"
                                                            : "stopped at a rung";
  }
  if (!std::isfinite(e.value)) {
    e.how = trial_outcome::failed;
    e.resource = 0;
    e.cause = error{errc::training_diverged, "its value is " + format_number(e.value)};
    e.reason = "failed: its value is not a finite number";
  }
  return ending(*t, std::move(e), from_seconds(result.seconds));
}

std::vector<event_draft> study_table::on_failure(const std::string& trial, std::uint32_t attempt, const error& cause,
                                                 double seconds) const {
  const auto* t = find(trial);
  if (!t || t->how != trial_outcome::running || attempt != t->attempt)
    return {};
  study_format::ended e;
  e.seconds = std::isfinite(seconds) ? std::max(seconds, 0.0) : 0.0;
  const auto* report = last_report(*t);
  const auto limit = time_max_.contains(t->number) ? time_max_.at(t->number) : config_.trial_time_max;
  const bool cut = cause.code == errc::timed_out && limit < config_.trial_time_max;
  e.how = t->stopping || cause.code == errc::cancelled || cut ? trial_outcome::pruned : trial_outcome::failed;
  if (e.how == trial_outcome::pruned && report && std::isfinite(report->at.value)) {
    e.value = report->at.value;
    e.standard_error = report->at.standard_error;
    e.resource = report->at.resource;
  }
  if (e.how == trial_outcome::failed)
    e.cause = cause;
  e.reason = t->stopping ? "stopped: the study is ending"
             : cut       ? "cut after " + format_duration(limit) + ", which was all that the budget had left"
             : e.how == trial_outcome::pruned ? "stopped: " + cause.what
                                              : "failed: " + cause.to_string();
  return ending(*t, std::move(e), from_seconds(seconds));
}

std::vector<event_draft> study_table::ending(const trial_record& t, study_format::ended e, nanoseconds used) const {
  std::vector<event_draft> drafts;
  drafts.push_back(draft(event_kind::trial_state, t.id, "trial " + t.id + " " + e.reason,
                         study_format::write(e, config_.study)));
  const auto reserved = ledger_.open(key_of(t, t.attempt));
  if (t.attempt > 0) {
    // A trial is ended when its reservation is over. What seems to be more was a clock that was set, or the killing: nobody pays for it (I9).
    const auto charged = std::min(used * config_.slots_per_trial, reserved.slots);
    auto pay = draft(event_kind::budget_settled, t.id, t.id + " used " + format_duration(charged / config_.slots_per_trial),
                     study_format::write(study_format::settled{{reserved.trials, charged}}, config_.study));
    pay.key = key_of(t, t.attempt);
    drafts.push_back(std::move(pay));
  }
  return drafts;
}

std::string study_table::key_of(const trial_record& t, std::uint32_t attempt) const {
  return t.id + "/" + std::to_string(attempt);
}

event_draft study_table::draft(event_kind kind, std::string subject, std::string text, std::string body) const {
  event_draft d;
  d.kind = kind;
  d.goal = config_.goal;
  d.step = config_.step;
  d.subject = std::move(subject);
  d.actor = config_.actor;
  d.text = std::move(text);
  d.body = std::move(body);
  d.epoch = config_.epoch;
  return d;
}

} // namespace flywheel
