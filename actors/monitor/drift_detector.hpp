#pragma once
// Does the world still look as it did when the model was made? A machine that is told each answered request and each label,
// closes a window now and then, and says quiet, suspected or confirmed - with the numbers it says so from.
//
// A subject (a feature, the prediction, a feature's unknown values, the accuracy) shifts in a window if the difference is
// both sure (p-value after Holm's correction over all features, so that many features do not make many false alarms) and
// large (so that much traffic does not make an alarm of a trifle). It is confirmed after `confirm` windows in a row.

#include "cluster/base/error.hpp"
#include "cluster/dataset/reference_profile.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

struct drift_options {
  std::uint64_t window = 500;      ///< requests per window; labels have windows of their own, of as many labels
  std::uint64_t confirm = 3;       ///< windows in a row before a shift counts
  double p_value_min = 0.001;      ///< a rarer difference, after Holm's correction, is sure
  double psi_max = 0.25;           ///< a larger population stability index is a large difference ...
  double distance_min = 0.15;      ///< ... and so is such a distance (Kolmogorov-Smirnov, or total variation)
  double unknown_max = 0.01;       ///< share of values of a categorical feature that the model has never seen
  double accuracy_drop_max = 0.05; ///< below the accuracy of the evaluation
};

/// One input of the model as rows carry it: a number, or a code into `categories`.
struct drift_input {
  std::string name;
  column_type type = column_type::numeric;
  std::vector<std::string> categories;
};

enum class drift_level : std::uint8_t { quiet, suspected, confirmed };
std::string_view name_of(drift_level l) noexcept;

/// What a window said about one subject.
struct drift_finding {
  std::string subject;     ///< "total_day_minutes", "prediction", "state (unknown values)", "accuracy"
  bool is_feature = false; ///< one of the model's inputs
  double psi = 0;
  double distance = 0;     ///< effect size, 0..1; for accuracy: how far it dropped; for unknown values: their share
  double p_value = 1;      ///< after Holm's correction
  bool shifted = false;
  std::uint64_t streak = 0; ///< windows in a row that it has shifted, this one included
  std::string sentence;    ///< "total_day_minutes shifted: PSI 0.61, ..."
};

struct drift_verdict {
  drift_level level = drift_level::quiet;
  bool newly_confirmed = false;        ///< the first confirmed window of an incident: act on this one
  std::uint64_t window = 0;            ///< number of the window, from 1; request and label windows count together
  std::uint64_t rows = 0;              ///< requests (or labels) in it
  std::string reason;                  ///< one sentence, naming the worst subjects with numbers
  std::vector<drift_finding> findings; ///< of all subjects, the worst first
};
nlohmann::json to_json(const drift_verdict& v);

class drift_detector {
public:
  /// `accuracy`: of the evaluation; empty: labels are counted but not judged (regression, for one).
  /// invalid_argument if an input is not in the profile, has another type there, or an option makes no sense.
  static result<drift_detector> make(reference_profile profile, std::vector<drift_input> inputs, drift_options options,
                                     std::optional<double> accuracy);

  /// One answered request: the model's inputs in its order (NaN or -1: missing; a code below -1 or beyond the categories: a
  /// value never seen) and its outputs (one: the value; two: of a binary model; more: of classes).
  /// The verdict if this request closed a window. Another number of features than inputs is a programmer's mistake.
  std::optional<drift_verdict> observe(std::span<const float> features, std::span<const float> outputs);
  /// One label that arrived, and whether the model had been right.
  std::optional<drift_verdict> observe_label(bool right);

  /// Closes the window of requests now if it holds at least `rows_min` rows (the traffic ended, say).
  std::optional<drift_verdict> close_window(std::uint64_t rows_min);
  const drift_options& options() const noexcept { return options_; }

private:
  struct subject {
    feature_profile reference;
    std::vector<std::int32_t> category_of_code; ///< -1: not in the profile
    std::vector<std::uint64_t> counts;          ///< of this window
    std::uint64_t missing = 0, unknown = 0;
  };
  drift_detector() = default;
  void count_prediction(std::span<const float> outputs);
  drift_verdict judge_requests();
  drift_verdict judge_labels();
  drift_verdict conclude(std::vector<drift_finding> findings, std::uint64_t rows);

  drift_options options_;
  std::vector<subject> features_;
  std::optional<subject> prediction_;
  std::vector<double> early_predictions_;       ///< until they are enough to be the yardstick
  std::optional<double> accuracy_;
  std::uint64_t rows_ = 0, labels_ = 0, right_ = 0, windows_ = 0;
  std::map<std::string, std::uint64_t> streaks_;
};

} // namespace flywheel
