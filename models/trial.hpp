#pragma once
// One evaluation of one configuration, and the final fit. Pure computation: a table in, values out; the worker process
// and the tests call it alike. Deterministic: same table, spec and seed give the same result to the bit (I13).

#include "models/tabular_model.hpp"

#include <nlohmann/json_fwd.hpp>

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <variant>

namespace flywheel {

/// One value of a hyper-parameter.
using param_value = std::variant<std::int64_t, double, std::string>;
using param_set = std::map<std::string, param_value>;
nlohmann::json to_json(const param_set& p);
result<param_set> params_from_json(const nlohmann::json& j);

/// A dimension of a search space.
struct param_range {
  enum class kind : std::uint8_t { integer, real, choice } type = kind::real;
  double low = 0, high = 1;          ///< inclusive; integer and real
  bool log = false;                  ///< sample uniformly in log space; low > 0
  std::vector<std::string> choices;  ///< choice
  bool operator==(const param_range&) const = default;
};
using search_space = std::map<std::string, param_range>;

/// A family of models: what it is called, what can be tuned, what it costs. models/families.cpp lists them all.
struct family_info {
  std::string name;             ///< "gbt", "mlp"
  std::string title;            ///< "gradient-boosted trees (XGBoost)"
  search_space space;
  param_set defaults;           ///< a sensible first configuration
  std::string resource;         ///< what one unit of budget is: "boosting rounds", "epochs"
  std::uint32_t resource_max;   ///< of a full trial
  std::string good_for;         ///< one sentence for the architect's reasons
};
const std::vector<family_info>& families();
const family_info* find_family(std::string_view name);

struct trial_spec {
  std::string trial;            ///< id, names the checkpoint
  std::string family;
  param_set params;
  std::uint32_t folds = 5;      ///< stratified cross-validation; all folds advance together so that a rung compares means
  std::uint32_t resource_max = 0;        ///< units of the family's resource; 0: the family's own maximum
  std::vector<std::uint32_t> rungs;      ///< resources at which to report and ask; increasing, the last is resource_max
  std::uint64_t seed = 0;
  std::uint32_t threads = 1;
};

struct trial_report {
  std::uint32_t rung = 0;       ///< index into rungs
  std::uint32_t resource = 0;
  double value = 0;             ///< mean of the metric over the folds' validation parts
  double standard_error = 0;    ///< of that mean, over folds
};

struct trial_result {
  enum class end : std::uint8_t { completed, pruned, stopped } how = end::completed;
  trial_report last;
  std::uint32_t best_resource = 0;  ///< where the mean was best (early stopping point for the final fit)
  double best_value = 0;
  std::vector<double> fold_values;
  double seconds = 0;
};

/// Called at each rung; false prunes the trial.
using report_function = std::function<bool(const trial_report&)>;

/// Runs the trial. `checkpoint` is a folder (may be empty path: none); state is published there at each rung, and a
/// complete one found there is resumed from, giving the same result as an undisturbed run.
/// Errors: training_diverged, invalid_argument (parameter, value, range), checksum_mismatch (checkpoint set aside, named).
result<trial_result> run_trial(const table& train, const learning_task& task, const trial_spec& spec,
                               const std::filesystem::path& checkpoint, const report_function& report,
                               const std::atomic<bool>& stop);

/// Fits on all rows of `train` for `resource` units. Checkpoints and resumes as run_trial does.
/// `progress(done, total)` may be empty.
result<std::shared_ptr<const tabular_model>> fit_model(const table& train, const learning_task& task,
                                                       const trial_spec& spec, std::uint32_t resource,
                                                       const std::filesystem::path& checkpoint,
                                                       const std::function<void(std::uint32_t, std::uint32_t)>& progress,
                                                       const std::atomic<bool>& stop);

} // namespace flywheel
