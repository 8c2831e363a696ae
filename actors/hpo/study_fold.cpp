// The fold: how each event changes a study. Everything is read before anything is changed.
#include "actors/hpo/study_format.hpp"
#include "actors/hpo/study_table.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {
namespace {
template <class... Fs> struct overloaded : Fs... { using Fs::operator()...; };
template <class... Fs> overloaded(Fs...) -> overloaded<Fs...>;
} // namespace

status study_table::apply_all(std::span<const event_draft> drafts, wall_time at) {
  for (const auto& d : drafts)
    FLYWHEEL_CHECK(apply(d, at));
  return success();
}

status study_table::apply(const event_draft& e, wall_time at) {
  if (e.goal != config_.goal || e.step != config_.step)
    return success();
  FLYWHEEL_TRY(const study_format::body body, study_format::read(e.kind, e.body, config_.study));
  if (std::holds_alternative<std::monostate>(body))
    return success();
  FLYWHEEL_CHECK(std::visit(
      overloaded{
          [](const std::monostate&) { return success(); },
          [&](const study_format::created& b) { return fold_created(e.subject, b); },
          [&](const study_format::running& b) { return fold_running(e.subject, b, at); },
          [&](const study_format::report& b) { return fold_report(e.subject, b); },
          [&](const study_format::ended& b) { return fold_ended(e.subject, b); },
          [&](const study_format::reserved& b) { return fold_reserved(e.key, b); },
          [&](const study_format::settled& b) { return ledger_.settle(e.key, b.amount); },
          [&](const study_format::stop_trial& b) { return fold_stop(b); },
          [&](const study_format::finished& b) {
            if (!end_)
              end_ = end_cause{b.why, b.reason};
            return success();
          },
      },
      body));
  note_time(e.epoch, at);
  return success();
}

void study_table::note_time(std::uint64_t epoch, wall_time at) {
  if (!session_ || epoch != session_epoch_) {
    if (session_ && seen_ > *session_)
      earlier_ += seen_ - *session_;
    session_ = at;
    seen_ = at;
    session_epoch_ = epoch;
  }
  seen_ = std::max(seen_, at); // the wall clock may step back
}

void study_table::begin_session(wall_time now) {
  if (session_ && seen_ > *session_)
    earlier_ += seen_ - *session_;
  // What the lost workers used is known up to the last event of their time.
  for (const auto& [number, since] : live_)
    lost_[number] = std::max(nanoseconds{0}, seen_ - since);
  live_.clear();
  session_ = now;
  seen_ = now;
  session_epoch_ = config_.epoch;
}

status study_table::fold_created(const std::string& trial, const study_format::created& b) {
  if (const auto it = trials_.find(b.number); it != trials_.end()) {
    if (it->second.id == trial)
      return success();
    return {errc::invalid_format, "trial number " + std::to_string(b.number) + " was created twice"};
  }
  if (b.number != trials_.size() + 1 || trial != trial_id(b.number))
    return {errc::invalid_format, "trial \"" + printable(trial, 80) + "\" is number " + std::to_string(b.number) +
                                      " where number " + std::to_string(trials_.size() + 1) + " was expected"};
  trial_record t;
  t.id = trial;
  t.number = b.number;
  t.params = b.params;
  t.source = b.source;
  t.reason = b.reason;
  trials_.emplace(b.number, std::move(t));
  return success();
}

status study_table::fold_running(const std::string& trial, const study_format::running& b, wall_time at) {
  auto* t = find_mutable(trial);
  if (!t)
    return unknown(trial);
  if (t->how != trial_outcome::running || b.attempt <= t->attempt)
    return success();
  t->attempt = b.attempt;
  ++t->fruitless;
  live_[t->number] = at;
  time_max_[t->number] = b.time_max;
  lost_.erase(t->number);
  return success();
}

status study_table::fold_report(const std::string& trial, const study_format::report& b) {
  auto* t = find_mutable(trial);
  if (!t)
    return unknown(trial);
  const bool known = std::any_of(t->reports.begin(), t->reports.end(),
                                 [&](const auto& r) { return r.at.rung == b.at.rung; });
  if (t->how != trial_outcome::running || known)
    return success();
  t->reports.push_back({b.at, b.go_on, b.reason});
  t->fruitless = 0;
  return success();
}

status study_table::fold_ended(const std::string& trial, const study_format::ended& b) {
  auto* t = find_mutable(trial);
  if (!t)
    return unknown(trial);
  if (t->how != trial_outcome::running)
    return success();
  t->how = b.how;
  t->value = b.value;
  t->standard_error = b.standard_error;
  t->resource = b.resource;
  t->fold_values = b.fold_values;
  t->seconds = b.seconds;
  t->cause = b.cause;
  t->ending = b.reason;
  live_.erase(t->number);
  lost_.erase(t->number);
  return success();
}

status study_table::fold_reserved(const std::string& key, const study_format::reserved& b) {
  if (const auto v = ledger_.reserve(key, b.amount); !v.granted)
    return {errc::budget_exhausted, "the journal reserves more than the budget allows: " + v.reason};
  return success();
}

status study_table::fold_stop(const study_format::stop_trial& b) {
  auto* t = find_mutable(b.trial);
  if (!t)
    return unknown(b.trial);
  t->stopping = true;
  return success();
}

} // namespace flywheel
