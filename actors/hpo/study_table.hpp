#pragma once
// The machine of a study. Its state is a fold of the journal's events and of nothing else: the same events give the same
// table (I13), each counted once however often it comes (I15). Verbs answer with the events to append; only when those are
// durable does the caller fold them and act, so that a kill at any point is followed by the same study:
//
//   study_table t(config);
//   for each event of the journal:  t.apply(e);
//   t.begin_session(now);                              // no worker of an earlier process lives
//   do { a = t.next(now); append(a.drafts); t.apply_all(a.drafts, now); act on a.what; } until wait or finished
//   at a rung:         v = t.on_report(...);  append, apply_all;  answer v.go_on
//   at a trial's end:  d = t.on_end(...);     append, apply_all;  next again
//
// Not thread-safe; one owner.

#include "actors/hpo/study_types.hpp"

#include <map>
#include <memory>
#include <span>

namespace flywheel {

namespace study_format {
struct created;
struct running;
struct report;
struct ended;
struct reserved;
struct stop_trial;
} // namespace study_format

struct study_action {
  enum class kind : std::uint8_t {
    record,   ///< nothing beyond the drafts; ask next() again
    start,    ///< run `spec` as `spec.trial`, attempt `attempt`, for at most `time_max`
    stop,     ///< end the running trial `spec.trial`; its end will be reported as usual
    wait,     ///< for a trial to end, or until `look_again` has passed
    finished, ///< `verdict()` is final
  } what = kind::wait;
  std::vector<event_draft> drafts;     ///< to be durable and folded before acting
  trial_spec spec;
  std::uint32_t attempt = 0;
  nanoseconds time_max{0};
  std::optional<nanoseconds> look_again;
  std::string reason;                  ///< one sentence
};

struct rung_verdict {
  bool go_on = true;
  std::string reason;
  std::vector<event_draft> drafts;     ///< empty if this rung was judged before; the verdict is then the earlier one
};

class study_table {
public:
  /// `config` must have passed check_config().
  explicit study_table(study_config config);

  /// Folds one event. Events of other goals, steps or studies are ignored. invalid_format (naming what is wrong) for a
  /// body that does not read, and the table is unchanged.
  status apply(const event_draft& e, wall_time at);
  status apply(const event& e) { return apply(e, e.time); }
  status apply_all(std::span<const event_draft> drafts, wall_time at);

  /// Call after the replay, and whenever all running trials are known to be lost (the trainer was restarted): those that
  /// run are started again, from their checkpoints. Time before it in which nobody ran does not count as wall time.
  void begin_session(wall_time now);

  /// What to do now. Pure: asking twice answers the same.
  study_action next(wall_time now) const;

  /// May the trial go on beyond this rung? A report of an unknown or ended trial or of an older attempt: no.
  rung_verdict on_report(const std::string& trial, std::uint32_t attempt, const trial_report& report,
                         wall_time now) const;
  /// The trial came back. Empty if it had ended before, or the attempt is an older one.
  std::vector<event_draft> on_end(const std::string& trial, std::uint32_t attempt, const trial_result& result) const;
  /// The trial failed, `seconds` after its start.
  std::vector<event_draft> on_failure(const std::string& trial, std::uint32_t attempt, const error& cause,
                                      double seconds) const;

  const study_config& config() const noexcept { return config_; }
  const std::map<std::uint32_t, trial_record>& trials() const noexcept { return trials_; }
  const trial_record* find(const std::string& trial) const;
  const budget_ledger& ledger() const noexcept { return ledger_; }
  study_counts counts() const noexcept;
  /// Time during which the study ran, over all sessions.
  nanoseconds active(wall_time now) const noexcept;
  const trial_record* best() const;
  /// `why` is running until the end is recorded.
  study_verdict verdict() const;
  /// As the sampler sees it.
  sampler_history history() const;

private:
  struct end_cause {
    study_end why;
    std::string reason;
  };
  std::optional<end_cause> cause_to_end(wall_time now) const;
  std::optional<end_cause> failing() const;
  std::optional<end_cause> good_enough() const;
  std::optional<end_cause> out_of_time(wall_time now) const;
  std::optional<end_cause> out_of_patience() const;
  std::optional<end_cause> out_of_trials() const;
  study_action start_new(wall_time now) const;
  study_action start_again(const trial_record& t, wall_time now) const;
  study_action close_lost(const trial_record& t, std::string why) const;
  study_action stop_running(const trial_record& t, const end_cause& cause) const;
  study_action finish(const end_cause& cause) const;
  study_action wait(wall_time now, std::string reason) const;
  void put_start(study_action& a, const trial_record& t, std::uint32_t attempt, const budget_use& amount,
                 wall_time now) const;
  suggestion choose(std::uint32_t number) const;
  trial_spec spec_of(const trial_record& t) const;
  std::optional<budget_use> affordable(std::uint64_t trials, std::string& why_not) const;
  std::optional<nanoseconds> typical_time() const;
  std::string key_of(const trial_record& t, std::uint32_t attempt) const;
  event_draft draft(event_kind kind, std::string subject, std::string text, std::string body) const;
  std::vector<event_draft> ending(const trial_record& t, study_format::ended e, nanoseconds used) const;

  status fold_created(const std::string& trial, const study_format::created& b);
  status fold_running(const std::string& trial, const study_format::running& b, wall_time at);
  status fold_report(const std::string& trial, const study_format::report& b);
  status fold_ended(const std::string& trial, const study_format::ended& b);
  status fold_reserved(const std::string& key, const study_format::reserved& b);
  status fold_stop(const study_format::stop_trial& b);
  void note_time(std::uint64_t epoch, wall_time at);
  status unknown(const std::string& trial) const;
  std::string trial_id(std::uint32_t number) const;
  trial_record* find_mutable(const std::string& trial);
  bool better(double a, double b) const noexcept { return config_.maximise ? a > b : a < b; }

  study_config config_;
  std::shared_ptr<const sampler> sampler_;
  budget_ledger ledger_;
  std::map<std::uint32_t, trial_record> trials_;
  std::map<std::uint32_t, wall_time> live_;  ///< trials with a worker in this session, and since when
  std::map<std::uint32_t, nanoseconds> lost_; ///< trials whose worker is gone, and how long it is known to have run
  std::map<std::uint32_t, nanoseconds> time_max_; ///< of the latest attempt
  nanoseconds earlier_{0};                  ///< active time of closed sessions
  std::optional<wall_time> session_;        ///< start of this one
  std::optional<std::uint64_t> session_epoch_;
  wall_time seen_{};                        ///< latest event
  std::optional<end_cause> end_;
};

} // namespace flywheel
