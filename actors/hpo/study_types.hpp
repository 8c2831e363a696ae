#pragma once
// A study as values: what it was asked to do, what its trials are, and how it ended.

#include "actors/hpo/budget_ledger.hpp"
#include "actors/hpo/sampler.hpp"
#include "cluster/journal/event.hpp"
#include "models/trial.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace flywheel {

/// A configuration that somebody chose beforehand: the family's defaults, or the architect's.
struct planned_trial {
  param_set params;
  std::string reason;
};

struct stop_rules {
  /// End after so many finished trials in a row without a better one; 0: never.
  std::uint32_t patience = 0;
  /// What counts as better, in the metric's unit.
  double improvement_min = 0;
  /// End when the best trial is at least this good even at the pessimistic end of its confidence interval.
  std::optional<double> good_enough;
  double confidence = 0.95;
  /// End as failed after so many failed trials in a row; 0: never.
  std::uint32_t failures_max = 5;
};

/// One study searches one family. Everything that decides its course is here, so that the journal and this give the same
/// study again.
struct study_config {
  std::string goal, step;          ///< as in the journal
  std::string actor = "hpo";       ///< who writes the events
  std::uint64_t epoch = 0;         ///< of the writer (I5)
  std::string study;               ///< unique within the step, e.g. "gbt"; trials are "<study>-0001", ... (is_valid_name)
  std::string family;
  search_space space;
  std::vector<planned_trial> planned; ///< tried first, in this order
  std::vector<past_trial> known;   ///< from an earlier, cheaper look at the same family: the sampler starts from them
  std::string sampler = "tpe";     ///< "tpe" "random"
  std::string pruner = "halving";  ///< "halving" "none"
  std::uint32_t eta = 3;
  bool maximise = true;
  std::uint64_t seed = 1;
  std::uint32_t folds = 5;
  std::uint32_t resource_max = 1;
  std::vector<std::uint32_t> rungs; ///< rising, the last is resource_max; empty: resource_max alone
  std::uint32_t parallel = 1;       ///< trials at once
  std::uint32_t slots_per_trial = 1; ///< also the threads of a trial
  budget_limits budget;
  nanoseconds trial_time_max = std::chrono::minutes{5}; ///< more is a failed trial
  nanoseconds kill_grace = std::chrono::seconds{2};     ///< between a time limit and the worker's death; reserved, too
  /// Starts of one trial in a row that reached no rung, counting those after a crash of the node: a trial that takes its
  /// node down must end, and one that was merely there when the node was killed must not.
  std::uint32_t attempts_max = 8;
  stop_rules stop;
};

/// invalid_argument or not_found, naming the field.
status check_config(const study_config& c);

struct trial_record {
  std::string id;
  std::uint32_t number = 0;
  param_set params;
  std::string source, reason;
  trial_outcome how = trial_outcome::running;
  std::uint32_t attempt = 0;          ///< 0: created, never started
  std::uint32_t fruitless = 0;        ///< attempts since the last rung that was reached
  bool stopping = false;              ///< the study has decided to end it
  struct rung_report {
    trial_report at;
    bool go_on = true;
    std::string reason;
  };
  std::vector<rung_report> reports;   ///< by rung, each rung once
  double value = 0;                   ///< completed: the best mean over the folds; pruned: the last
  double standard_error = 0;
  std::uint32_t resource = 0;         ///< where `value` was reached; for the final fit
  std::vector<double> fold_values;
  double seconds = 0;                 ///< of all attempts that told
  error cause{errc::ok, {}};          ///< why it failed
  std::string ending;                 ///< one sentence: how it ended
};

enum class study_end : std::uint8_t { running, trials, slot_time, wall_time, patience, good_enough, exhausted, failing };
std::string_view name_of(study_end e) noexcept;
std::optional<study_end> study_end_from_name(std::string_view name) noexcept;

struct study_counts {
  std::uint64_t created = 0, running = 0, completed = 0, pruned = 0, failed = 0;
  /// I15
  bool add_up() const noexcept { return created == running + completed + pruned + failed; }
};

/// How a study ended, for the next step and for people.
struct study_verdict {
  study_end why = study_end::running;
  std::string reason;                ///< why it ended, in numbers
  std::optional<trial_record> best;  ///< a completed trial if there is one, else the pruned one that came farthest
  study_counts counts;
  budget_use spent;
};

} // namespace flywheel
