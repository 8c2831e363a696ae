#pragma once
// Drives a study_table as the hpo actor does, with a journal in memory, workers that compute an objective, and a clock of
// its own. It can be killed between any two events.

#include "actors/hpo/halving_pruner.hpp"
#include "actors/hpo/study_table.hpp"

#include "tests/actors/hpo/objectives.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <set>

namespace flywheel::testing {

struct written {
  event_draft e;
  wall_time at;
};

/// What a worker would do with a configuration.
struct fake_work {
  std::function<double(const param_set&, std::uint32_t resource)> value;
  std::function<double(const param_set&)> seconds = [](const param_set&) { return 10.0; };
  std::function<std::optional<error>(const trial_spec&)> fails = [](const trial_spec&) { return std::nullopt; };
  double standard_error = 0.01;
};

class study_driver {
public:
  study_driver(study_config config, fake_work work, std::vector<written> journal = {}, wall_time now = {1'000'000'000})
      : table(std::move(config)), events(std::move(journal)), work_(std::move(work)), now_(now) {
    for (const auto& w : events) {
      const auto s = table.apply(w.e, w.at);
      EXPECT_TRUE(s.ok()) << (s ? "" : s.error().to_string());
      now_ = std::max(now_, w.at);
    }
    table.begin_session(now_);
  }

  /// Runs until the study is finished (true) or the journal holds `events_max` events: the process is killed (false).
  bool run(std::size_t events_max = 1'000'000) {
    for (;;) {
      if (!fill(events_max))
        return false;
      if (finished)
        return true;
      if (workers_.empty()) {
        ADD_FAILURE() << "the study waits and nobody runs";
        return true;
      }
      if (!step_worker(events_max))
        return false;
    }
  }

  study_table table;
  std::vector<written> events;
  bool finished = false;
  std::map<std::string, int> starts; ///< by trial, in this process
  std::set<std::string> stopped;

  wall_time now() const { return now_; }
  std::size_t running() const { return workers_.size(); }

private:
  struct worker {
    trial_spec spec;
    std::uint32_t attempt;
    std::size_t rung = 0;
    double seconds = 0;
    nanoseconds time_max{};
  };

  bool append(const std::vector<event_draft>& drafts, std::size_t events_max) {
    if (events.size() + drafts.size() > events_max)
      return false; // killed before the batch was durable
    for (const auto& d : drafts)
      events.push_back({d, now_});
    const auto s = table.apply_all(drafts, now_);
    EXPECT_TRUE(s.ok()) << (s ? "" : s.error().to_string());
    check_promises();
    return true;
  }

  void check_promises() const {
    EXPECT_TRUE(table.counts().add_up()); // I15
    const auto& l = table.ledger();       // I9
    EXPECT_LE(l.reserved().slots + l.spent().slots, l.slot_limit());
    EXPECT_LE(l.reserved().trials + l.spent().trials, l.trial_limit());
  }

  bool fill(std::size_t events_max) {
    for (;;) {
      const auto a = table.next(now_);
      EXPECT_FALSE(a.reason.empty());
      if (!append(a.drafts, events_max))
        return false;
      switch (a.what) {
      case study_action::kind::record: break;
      case study_action::kind::start:
        EXPECT_GT(a.time_max.count(), 0);
        ++starts[a.spec.trial];
        workers_.push_back({a.spec, a.attempt, 0, 0, a.time_max});
        EXPECT_LE(workers_.size(), table.config().parallel);
        break;
      case study_action::kind::stop: stopped.insert(a.spec.trial); break;
      case study_action::kind::wait: return true;
      case study_action::kind::finished: finished = true; return true;
      }
    }
  }

  bool step_worker(std::size_t events_max) {
    auto w = workers_.front();
    workers_.pop_front();
    const double whole = work_.seconds(w.spec.params);
    const auto end_with = [&](const std::vector<event_draft>& drafts) { return append(drafts, events_max); };
    if (stopped.contains(w.spec.trial))
      return end_with(table.on_failure(w.spec.trial, w.attempt, error{errc::cancelled, "stopped"}, w.seconds));
    if (auto problem = work_.fails(w.spec)) {
      advance(1);
      return end_with(table.on_failure(w.spec.trial, w.attempt, *problem, 1));
    }
    const std::uint32_t resource = w.spec.rungs[w.rung];
    const double share = whole * (resource - (w.rung ? w.spec.rungs[w.rung - 1] : 0)) / w.spec.resource_max;
    const double limit = std::chrono::duration<double>(w.time_max).count();
    if (w.seconds + share > limit) {
      advance(limit - w.seconds);
      return end_with(table.on_failure(w.spec.trial, w.attempt, error{errc::timed_out, "too slow"}, limit));
    }
    advance(share);
    w.seconds += share;
    const trial_report report{static_cast<std::uint32_t>(w.rung), resource, work_.value(w.spec.params, resource),
                              work_.standard_error};
    const auto v = table.on_report(w.spec.trial, w.attempt, report, now_);
    if (!append(v.drafts, events_max))
      return false;
    const bool last = ++w.rung == w.spec.rungs.size();
    if (v.go_on && !last) {
      workers_.push_back(w);
      return true;
    }
    trial_result r;
    r.how = v.go_on ? trial_result::end::completed : trial_result::end::pruned;
    r.last = report;
    r.best_resource = resource;
    r.best_value = report.value;
    r.fold_values = {report.value - 0.01, report.value, report.value + 0.01};
    r.seconds = w.seconds;
    return end_with(table.on_end(w.spec.trial, w.attempt, r));
  }

  void advance(double seconds) { now_ = now_ + nanoseconds{std::llround(seconds * 1e9)}; }

  fake_work work_;
  std::deque<worker> workers_;
  wall_time now_;
};

} // namespace flywheel::testing
