#pragma once
// Which families of models are worth a search. First a cheap look at each, in an order with reasons; then, from what the
// looks found on the same folds, which family gets the budget, which two share it, and which are dropped and why. Pure.

#include "cluster/dataset/table.hpp"
#include "models/trial.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace flywheel {

struct data_facts {
  task_type task = task_type::binary;
  std::uint64_t rows = 0;
  std::uint64_t numeric = 0, categorical = 0; ///< input columns
  double missing_share = 0;                   ///< of all input cells
  std::uint64_t categories_most = 0;          ///< of the widest categorical column
  std::uint64_t classes = 0;                  ///< 0 for regression
  double rarest_class_share = 0;
  std::uint64_t inputs() const noexcept { return numeric + categorical; }
};
/// Of a training table; inputs that it lacks are not counted.
data_facts facts_of(const table& t, const learning_task& task);
/// "3333 rows, 15 numeric and 4 categorical columns, 0 % missing, rarest class 14.5 %"
std::string describe(const data_facts& f);

struct explore_budget {
  std::uint64_t trials = 0;      ///< of the whole search
  double wall_seconds = 0, slot_seconds = 0;
  std::uint32_t slots = 1;
};

/// One family's cheap look: a study without pruning.
struct family_look {
  std::string family;
  std::vector<std::pair<param_set, std::string>> planned; ///< first the defaults; with the reason
  std::uint64_t trials = 1;      ///< the rest is drawn at random
  std::uint32_t resource_max = 1;
  double wall_seconds = 0, slot_seconds = 0;
  std::string reason;
};
struct set_aside {
  std::string family, why;
};
struct exploration_plan {
  std::vector<family_look> looks;  ///< in the order to run them
  std::vector<set_aside> skipped;
  std::string reason;
};

struct explore_options {
  double share = 0.25;             ///< of the search's budget that all looks together may use
  std::uint64_t network_rows_min = 500; ///< fewer rows teach a network nothing that trees do not know
  std::uint64_t rows_per_class_min = 10;
};

/// `allowed`: in the order the goal names them; cheap ones are moved to the front. At least one family is looked at,
/// whatever the facts, as long as one is allowed and there is an input column.
exploration_plan plan_exploration(const std::vector<const family_info*>& allowed, const data_facts& facts,
                                  const explore_budget& budget, const explore_options& o = {});

/// What a look brought: the family's best completed trial.
struct family_evidence {
  std::string family;
  std::string trial;               ///< empty: none completed
  double value = 0, standard_error = 0;
  std::vector<double> fold_values; ///< of the same folds in every family
  double seconds = 0;              ///< of that trial
  std::uint64_t trials = 0;        ///< how many were tried
  std::string failure;             ///< why none completed
};

struct kept_family {
  std::string family;
  double share = 1;                ///< of the remaining budget
  std::string reason;
};
struct family_choice {
  std::vector<kept_family> kept;   ///< the leader first; empty if no trial of any family completed
  std::vector<set_aside> dropped;
  std::string reason;              ///< one sentence
};

struct choice_options {
  double confidence = 0.95;        ///< that the leader is better, to drop the other
  double cost_ratio_max = 8;       ///< a family this many times slower must not merely be "not clearly worse"
  double cost_confidence = 0.75;   ///< ... it is dropped when the leader is better with this confidence
  std::size_t kept_max = 2;
};

/// Two families are compared by the paired difference over folds, with the variance corrected for the folds sharing their
/// training rows (Nadeau, Bengio, "Inference for the generalization error", 2003). Without common folds: by the standard
/// errors.
family_choice choose_families(const std::vector<family_evidence>& evidence, bool maximise, const choice_options& o = {});

/// How sure it is that `leader` is truly better than `other`, and the sentence with the numbers.
struct family_difference {
  double mean = 0;                 ///< leader - other, in the direction of better
  double low = 0, high = 0;        ///< two-sided interval at the given confidence
  double confidence = 0.5;
  std::string text;
};
family_difference compare_families(const family_evidence& leader, const family_evidence& other, bool maximise,
                                   double confidence);

} // namespace flywheel
