#include "actors/monitor/drift_detector.hpp"

#include "actors/monitor/distribution_distance.hpp"
#include "cluster/base/assert.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/statistics/distributions.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace flywheel {
namespace {

/// Without a prediction profile from the evaluation, so many windows of live predictions become the yardstick.
constexpr std::uint64_t windows_to_learn = 3;
/// Fewer rows say nothing about a distribution.
constexpr std::uint64_t window_min = 20;

std::string fixed(double x, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}
std::string p_text(double p) {
  char text[40];
  std::snprintf(text, sizeof text, p < 1e-4 ? "%.0e" : "%.4f", p);
  return p < 1e-12 ? "p < 1e-12" : "p = " + std::string(text);
}

/// P(X >= k) for X ~ Binomial(n, p).
double upper_tail(std::uint64_t k, std::uint64_t n, double p) { return k == 0 ? 1 : 1 - binomial_cdf(k - 1, n, p); }

/// The single number that stands for a prediction: the value, the probability of the positive class, or the class.
double prediction_of(std::span<const float> outputs) {
  if (outputs.size() <= 2)
    return static_cast<double>(outputs.back());
  return static_cast<double>(std::max_element(outputs.begin(), outputs.end()) - outputs.begin());
}

} // namespace

std::string_view name_of(drift_level l) noexcept {
  switch (l) {
  case drift_level::quiet: return "quiet";
  case drift_level::suspected: return "suspected";
  case drift_level::confirmed: return "confirmed";
  }
  return "?";
}

nlohmann::json to_json(const drift_verdict& v) {
  nlohmann::json findings = nlohmann::json::array();
  for (const auto& f : v.findings)
    findings.push_back({{"subject", f.subject},
                        {"psi", f.psi},
                        {"distance", f.distance},
                        {"p_value", f.p_value},
                        {"shifted", f.shifted},
                        {"streak", f.streak},
                        {"sentence", f.sentence}});
  return {{"level", std::string(name_of(v.level))}, {"window", v.window}, {"rows", v.rows}, {"reason", v.reason},
          {"findings", std::move(findings)}};
}

result<drift_detector> drift_detector::make(reference_profile profile, std::vector<drift_input> inputs, drift_options options,
                                            std::optional<double> accuracy) {
  const auto bad = [](std::string what) { return error{errc::invalid_argument, std::move(what)}; };
  if (options.window < window_min)
    return bad("a drift window of " + std::to_string(options.window) + " requests says nothing; at least " +
               std::to_string(window_min) + " are needed");
  if (options.confirm == 0)
    return bad("a shift must be seen in one window at least");
  if (!(options.p_value_min > 0 && options.p_value_min < 1))
    return bad("the p-value below which a difference is sure must lie between 0 and 1");
  if (accuracy && !(*accuracy >= 0 && *accuracy <= 1))
    return bad("an accuracy of " + format_number(*accuracy) + " does not lie between 0 and 1");
  drift_detector d;
  d.options_ = options;
  d.accuracy_ = accuracy;
  for (const auto& input : inputs) {
    const auto* reference = profile.find(input.name);
    if (!reference)
      return bad("the reference profile has no feature " + printable(input.name, 80));
    if (reference->type != input.type)
      return bad("feature " + printable(input.name, 80) + " is " + std::string(name_of(input.type)) + " in the model and " +
                 std::string(name_of(reference->type)) + " in the reference profile");
    if (reference->rows() == 0)
      return bad("the reference profile of " + printable(input.name, 80) + " is empty");
    subject s;
    s.reference = *reference;
    s.counts.assign(reference->counts.size(), 0);
    for (const auto& category : input.categories) {
      const auto at = reference->category_of(category);
      s.category_of_code.push_back(at ? static_cast<std::int32_t>(*at) : -1);
    }
    d.features_.push_back(std::move(s));
  }
  if (profile.prediction && profile.prediction->type == column_type::numeric && profile.prediction->rows() > 0) {
    subject s;
    s.reference = *profile.prediction;
    s.counts.assign(s.reference.counts.size(), 0);
    d.prediction_ = std::move(s);
  }
  return d;
}

void drift_detector::count_prediction(std::span<const float> outputs) {
  if (outputs.empty())
    return;
  const double value = prediction_of(outputs);
  if (!prediction_) {
    early_predictions_.push_back(value);
    return;
  }
  if (const auto bin = prediction_->reference.bin_of(value))
    ++prediction_->counts[*bin];
  else
    ++prediction_->missing;
}

std::optional<drift_verdict> drift_detector::observe(std::span<const float> features, std::span<const float> outputs) {
  FLYWHEEL_ASSERT(features.size() == features_.size(), "one value per input of the model");
  for (std::size_t i = 0; i < features.size(); ++i) {
    auto& s = features_[i];
    const float x = features[i];
    if (std::isnan(x)) {
      ++s.missing;
    } else if (s.reference.type == column_type::numeric) {
      ++s.counts[*s.reference.bin_of(static_cast<double>(x))];
    } else if (x >= -1.0f && x < 0.0f) {
      ++s.missing;
    } else {
      const bool known = x >= 0 && x < static_cast<float>(s.category_of_code.size()) &&
                         s.category_of_code[static_cast<std::size_t>(x)] >= 0;
      if (known)
        ++s.counts[static_cast<std::size_t>(s.category_of_code[static_cast<std::size_t>(x)])];
      else
        ++s.unknown;
    }
  }
  count_prediction(outputs);
  ++rows_;
  if (rows_ < options_.window)
    return std::nullopt;
  return judge_requests();
}

std::optional<drift_verdict> drift_detector::close_window(std::uint64_t rows_min) {
  if (rows_ == 0 || rows_ < std::max(rows_min, window_min))
    return std::nullopt;
  return judge_requests();
}

std::optional<drift_verdict> drift_detector::observe_label(bool right) {
  ++labels_;
  right_ += right ? 1 : 0;
  if (labels_ < options_.window)
    return std::nullopt;
  return judge_labels();
}

drift_verdict drift_detector::judge_requests() {
  std::vector<drift_finding> findings;
  std::vector<double> p_values;
  const auto look = [&](const subject& s, bool is_feature) {
    // Values never seen have a rule of their own below; here they are as good as missing, which is how the model sees them.
    const auto d = compare(s.reference, s.counts, s.missing + s.unknown);
    drift_finding f;
    f.subject = is_feature ? s.reference.name : "prediction";
    f.is_feature = is_feature;
    f.psi = d.psi;
    f.distance = d.distance;
    f.sentence = std::string(d.ordered ? "Kolmogorov-Smirnov distance " : "total variation ") + fixed(d.distance, 3);
    p_values.push_back(d.p_value);
    findings.push_back(std::move(f));
  };
  for (const auto& s : features_)
    look(s, true);
  if (prediction_)
    look(*prediction_, false);
  const auto adjusted = holm(p_values);
  for (std::size_t i = 0; i < findings.size(); ++i) {
    auto& f = findings[i];
    f.p_value = adjusted[i];
    f.shifted = f.p_value < options_.p_value_min && (f.psi > options_.psi_max || f.distance >= options_.distance_min);
    f.sentence = f.subject + (f.shifted ? " shifted" : " holds") + ": PSI " + fixed(f.psi, 3) + ", " + f.sentence + ", " +
                 p_text(f.p_value);
  }
  for (const auto& s : features_) {
    if (s.reference.type != column_type::categorical)
      continue;
    drift_finding f;
    f.subject = s.reference.name + " (unknown values)";
    f.distance = static_cast<double>(s.unknown) / static_cast<double>(rows_);
    f.p_value = std::min(1.0, upper_tail(s.unknown, rows_, options_.unknown_max) * static_cast<double>(features_.size()));
    f.shifted = f.p_value < options_.p_value_min && f.distance > options_.unknown_max;
    f.sentence = format_percent(f.distance, 1) + " of the values of " + s.reference.name +
                 " were never seen before, " + p_text(f.p_value) + " for the " + format_percent(options_.unknown_max, 1) + " allowed";
    if (s.unknown > 0)
      findings.push_back(std::move(f));
  }
  const auto rows = rows_;
  rows_ = 0;
  for (auto& s : features_) {
    std::fill(s.counts.begin(), s.counts.end(), 0);
    s.missing = s.unknown = 0;
  }
  if (prediction_) {
    std::fill(prediction_->counts.begin(), prediction_->counts.end(), 0);
    prediction_->missing = 0;
  } else if (early_predictions_.size() >= windows_to_learn * options_.window) {
    subject s;
    s.reference = build_feature_profile("prediction", early_predictions_);
    s.counts.assign(s.reference.counts.size(), 0);
    prediction_ = std::move(s);
    early_predictions_ = {};
  }
  // What this window did not speak of keeps its streak; labels have their own windows.
  for (auto& [name, streak] : streaks_)
    if (name != "accuracy" && std::none_of(findings.begin(), findings.end(), [&](const auto& f) { return f.subject == name; }))
      streak = 0;
  return conclude(std::move(findings), rows);
}

drift_verdict drift_detector::judge_labels() {
  const auto labels = labels_, right = right_;
  labels_ = right_ = 0;
  std::vector<drift_finding> findings;
  if (accuracy_) {
    const double live = static_cast<double>(right) / static_cast<double>(labels);
    drift_finding f;
    f.subject = "accuracy";
    f.distance = *accuracy_ - live;
    f.p_value = binomial_cdf(right, labels, *accuracy_);
    f.shifted = f.distance > options_.accuracy_drop_max && f.p_value < options_.p_value_min;
    f.sentence = "accuracy is " + format_percent(live) + " on " + std::to_string(labels) + " labels, it was " +
                 format_percent(*accuracy_) + " in the evaluation, " + p_text(f.p_value);
    findings.push_back(std::move(f));
  }
  return conclude(std::move(findings), labels);
}

drift_verdict drift_detector::conclude(std::vector<drift_finding> findings, std::uint64_t rows) {
  drift_verdict v;
  v.window = ++windows_;
  v.rows = rows;
  for (auto& f : findings) {
    auto& streak = streaks_[f.subject];
    streak = f.shifted ? streak + 1 : 0;
    f.streak = streak;
    if (streak > 0)
      v.level = std::max(v.level, streak >= options_.confirm ? drift_level::confirmed : drift_level::suspected);
  }
  const auto first_time = [&](const drift_finding& f) { return f.streak == options_.confirm; };
  const auto older = [&](const auto& entry) {
    // Another subject was confirmed before this window and still is: the incident is not new.
    const auto mine = std::find_if(findings.begin(), findings.end(), [&](const auto& f) { return f.subject == entry.first; });
    return entry.second > options_.confirm || (entry.second == options_.confirm && mine == findings.end());
  };
  v.newly_confirmed = std::any_of(findings.begin(), findings.end(), first_time) &&
                      std::none_of(streaks_.begin(), streaks_.end(), older);
  std::stable_sort(findings.begin(), findings.end(), [](const drift_finding& a, const drift_finding& b) {
    if (a.streak != b.streak)
      return a.streak > b.streak;
    if (a.shifted != b.shifted)
      return a.shifted;
    return a.p_value != b.p_value ? a.p_value < b.p_value : a.distance > b.distance;
  });

  std::vector<std::string> named;
  std::size_t shifted = 0;
  for (const auto& f : findings) {
    if (!f.shifted)
      continue;
    if (++shifted <= 3)
      named.push_back(f.sentence);
  }
  if (shifted > 3)
    named.push_back("and " + std::to_string(shifted - 3) + " more");
  const std::string where = "window " + std::to_string(v.window) + " (" + std::to_string(rows) + " rows): ";
  if (shifted > 0)
    v.reason = where + join(named, "; ") + "; seen in " + std::to_string(findings.front().streak) + " of the " +
               std::to_string(options_.confirm) + " windows in a row that confirm it";
  else if (findings.empty())
    v.reason = where + "nothing to compare with";
  else
    v.reason = where + "no shift; the nearest to one: " + findings.front().sentence;
  v.findings = std::move(findings);
  return v;
}

} // namespace flywheel
