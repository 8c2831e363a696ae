#include "models/trial.hpp"

#include "checkpoints/checkpoint_store.hpp"
#include "checkpoints/seal_format.hpp"
#include "cluster/base/assert.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/random.hpp"
#include "cluster/base/text.hpp"
#include "models/features.hpp"
#include "models/fold_plan.hpp"
#include "models/learner.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

namespace {

namespace fs = std::filesystem;

/// How often the folds are scored between rungs, to find where the mean is best.
constexpr std::uint32_t looks_per_trial = 40;
/// How often a final fit publishes its state.
constexpr std::uint32_t fit_checkpoints = 10;

/// What both entry points begin with.
struct prepared {
  trial_spec spec; ///< with its family's defaults filled in
  model_signature signature;
  learning_rows rows;
};

result<prepared> prepare(const table& train, const learning_task& task, trial_spec spec) {
  const auto* family = find_family(spec.family);
  if (!family) {
    std::vector<std::string> names;
    for (const auto& f : families())
      names.push_back(f.name);
    return error{errc::invalid_argument, "there is no family of models named \"" + printable(spec.family, 40) + "\"",
                 spec.trial, "the families are " + join(names, ", ")};
  }
  if (spec.resource_max == 0)
    spec.resource_max = spec.rungs.empty() ? family->resource_max : spec.rungs.back();
  prepared p{std::move(spec), {}, {}};
  FLYWHEEL_TRY(p.signature, make_signature(train, task));
  FLYWHEEL_TRY(p.rows.features, encode_features(p.signature, train));
  FLYWHEEL_TRY(p.rows.target, encode_target(p.signature, train));
  if (p.rows.rows() == 0)
    return error{errc::invalid_argument, "there are no rows to learn from", p.spec.trial};
  return p;
}

status check_plan(const trial_spec& spec, std::size_t rows) {
  const auto refuse = [&](std::string what) { return error{errc::invalid_argument, std::move(what), spec.trial}; };
  if (spec.folds < 2 || spec.folds > rows)
    return refuse("folds must be between 2 and the number of rows (" + std::to_string(rows) + "), got " +
                  std::to_string(spec.folds));
  for (std::size_t i = 0; i < spec.rungs.size(); ++i) {
    if (spec.rungs[i] == 0 || (i > 0 && spec.rungs[i] <= spec.rungs[i - 1]))
      return refuse("rungs must be positive and increase");
  }
  if (spec.rungs.back() != spec.resource_max)
    return refuse("the last rung must be the whole resource (" + std::to_string(spec.resource_max) + "), got " +
                  std::to_string(spec.rungs.back()));
  return success();
}

/// Everything that decides the numbers; a checkpoint made under another fingerprint is not continued.
std::string fingerprint(const prepared& p, const learning_task& task, std::string_view kind) {
  nlohmann::json j{{"kind", kind},
                   {"family", p.spec.family},
                   {"params", to_json(p.spec.params)},
                   {"folds", p.spec.folds},
                   {"resource_max", p.spec.resource_max},
                   {"rungs", p.spec.rungs},
                   {"seed", p.spec.seed},
                   {"metric", name_of(task.metric)},
                   {"features", fast_hash(std::as_bytes(std::span{p.rows.features}))},
                   {"target", fast_hash(std::as_bytes(std::span{p.rows.target}))}};
  return j.dump();
}

/// The checkpoints of this call; does nothing where no folder was given.
class journal_of_states {
public:
  status open(const fs::path& folder, std::string fingerprint) {
    fingerprint_ = std::move(fingerprint);
    if (folder.empty())
      return success();
    FLYWHEEL_TRY(auto store, checkpoint_store::open(folder));
    store_ = std::move(store);
    return success();
  }

  bool active() const { return store_.has_value(); }

  status save(checkpoint c) {
    if (!store_)
      return success();
    c.attributes = fingerprint_;
    return store_->save(c);
  }

  /// The newest whole state of this very trial; nothing if there is none at all. If all there is is damaged: the damage.
  result<std::optional<checkpoint>> latest() const {
    if (!store_)
      return std::optional<checkpoint>{};
    FLYWHEEL_TRY(auto found, store_->latest());
    if (!found.newest && !found.set_aside.empty()) {
      auto damage = std::move(found.set_aside.front());
      damage.code = errc::checksum_mismatch;
      return damage;
    }
    if (found.newest && found.newest->attributes != fingerprint_)
      return error{errc::already_exists, "the checkpoint there belongs to another trial or other data",
                   store_->path_of(found.newest->step).string(), "use another folder, or remove this one"};
    return std::move(found.newest);
  }

private:
  std::optional<checkpoint_store> store_;
  std::string fingerprint_;
};

struct mean_and_error {
  double mean = 0, standard_error = 0;
};

mean_and_error over_folds(std::span<const double> values) {
  const double n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const double v : values)
    mean += v / n;
  for (const double v : values)
    squares += (v - mean) * (v - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

/// The metric of every fold at one resource.
struct look {
  std::uint32_t resource = 0;
  std::vector<double> values;
};

class cross_validation {
public:
  cross_validation(const prepared& p, const learning_task& task) : p_(p), task_(task) {}

  status start() {
    for (auto& part : plan_folds(p_.signature.type, p_.rows.target, p_.spec.folds, p_.spec.seed)) {
      const auto label = "fold/" + std::to_string(learners_.size());
      auto validation = p_.rows.select(part.validation, p_.signature.inputs.size());
      truths_.push_back(validation.target);
      FLYWHEEL_TRY(auto one, make_learner({p_.signature, p_.spec, random_source::derive(p_.spec.seed, label).next(),
                                           p_.rows.select(part.train, p_.signature.inputs.size()), std::move(validation)}));
      learners_.push_back(std::move(one));
    }
    return success();
  }

  /// All folds to `resource`, then a look; false if stopped.
  result<bool> advance_to(std::uint32_t resource, const std::atomic<bool>& stop) {
    for (auto& one : learners_) {
      FLYWHEEL_TRY(const bool reached, one->advance_to(resource, stop));
      if (!reached)
        return false;
    }
    look now{resource, {}};
    for (std::size_t k = 0; k < learners_.size(); ++k) {
      FLYWHEEL_TRY(const auto outputs, learners_[k]->validate());
      const double value = score(task_.metric, task_.type, p_.signature.outputs(), truths_[k], outputs);
      if (!std::isfinite(value))
        return error{errc::training_diverged,
                     "fold " + std::to_string(k) + " predicts values that are not finite after " +
                         std::to_string(resource) + " units",
                     p_.spec.trial, "try a smaller learning rate"};
      now.values.push_back(value);
    }
    looks_.push_back(std::move(now));
    return true;
  }

  const std::vector<look>& looks() const { return looks_; }
  std::uint32_t reached() const { return looks_.empty() ? 0 : looks_.back().resource; }

  result<checkpoint> save() {
    checkpoint c;
    c.step = reached();
    std::vector<std::uint32_t> resources;
    std::vector<double> values;
    for (const auto& l : looks_) {
      resources.push_back(l.resource);
      values.insert(values.end(), l.values.begin(), l.values.end());
    }
    c.tensors.push_back(tensor::of("looks.resource", resources));
    c.tensors.push_back(tensor::of<double>("looks.values", values, {looks_.size(), learners_.size()}));
    for (std::size_t k = 0; k < learners_.size(); ++k)
      FLYWHEEL_CHECK(learners_[k]->save(c, prefix(k)));
    return c;
  }

  status load(const checkpoint& c) {
    const auto* resources = c.find("looks.resource", tensor_type::u32);
    const auto* values = c.find("looks.values", tensor_type::f64);
    if (!resources || !values || resources->bytes.empty() ||
        values->shape != std::vector<std::uint64_t>{resources->bytes.size() / sizeof(std::uint32_t), learners_.size()})
      return error{errc::invalid_format, "the checkpoint holds no history of this trial", p_.spec.trial};
    const auto numbers = values->to<double>();
    auto at = numbers.begin();
    for (const auto resource : resources->to<std::uint32_t>()) {
      const auto next = at + static_cast<std::ptrdiff_t>(learners_.size());
      looks_.push_back({resource, {at, next}});
      at = next;
    }
    for (std::size_t k = 0; k < learners_.size(); ++k)
      FLYWHEEL_CHECK(learners_[k]->load(c, prefix(k)));
    return success();
  }

private:
  static std::string prefix(std::size_t fold) { return "fold" + std::to_string(fold) + "."; }

  const prepared& p_;
  const learning_task& task_;
  std::vector<std::unique_ptr<learner>> learners_;
  std::vector<std::vector<double>> truths_;
  std::vector<look> looks_;
};

/// The look with the best mean, the earliest among equals.
const look& best_of(const std::vector<look>& looks, metric_name metric) {
  const auto worse = [&](const look& a, const look& b) {
    const double x = over_folds(a.values).mean, y = over_folds(b.values).mean;
    return higher_is_better(metric) ? x < y : y < x;
  };
  return *std::max_element(looks.begin(), looks.end(), worse);
}

/// Where to look between `from` and the rung: multiples of a fixed stride, and the rung itself.
std::vector<std::uint32_t> looks_until(std::uint32_t from, std::uint32_t rung, std::uint32_t resource_max) {
  const std::uint32_t stride = std::max(1u, (resource_max + looks_per_trial - 1) / looks_per_trial);
  std::vector<std::uint32_t> at;
  for (std::uint32_t r = (from / stride + 1) * stride; r < rung; r += stride)
    at.push_back(r);
  at.push_back(rung);
  return at;
}

trial_report report_of(const look& l, std::size_t rung) {
  const auto [mean, standard_error] = over_folds(l.values);
  return {static_cast<std::uint32_t>(rung), l.resource, mean, standard_error};
}

} // namespace

result<trial_result> run_trial(const table& train, const learning_task& task, const trial_spec& given,
                               const fs::path& checkpoint_folder, const report_function& report,
                               const std::atomic<bool>& stop) {
  const auto begin = system_clock().mono();
  FLYWHEEL_TRY(auto p, prepare(train, task, given));
  if (p.spec.rungs.empty())
    p.spec.rungs = {p.spec.resource_max};
  FLYWHEEL_CHECK(check_plan(p.spec, p.rows.rows()));
  cross_validation folds{p, task};
  FLYWHEEL_CHECK(folds.start());
  journal_of_states states;
  FLYWHEEL_CHECK(states.open(checkpoint_folder, fingerprint(p, task, "trial")));
  FLYWHEEL_TRY(const auto found, states.latest());
  if (found)
    FLYWHEEL_CHECK(folds.load(*found));

  trial_result r;
  const auto finish = [&](enum trial_result::end how) {
    r.how = how;
    if (!folds.looks().empty()) {
      const auto& best = best_of(folds.looks(), task.metric);
      r.best_resource = best.resource;
      r.best_value = over_folds(best.values).mean;
      r.fold_values = best.values;
    }
    r.seconds = std::chrono::duration<double>(system_clock().mono() - begin).count();
    return r;
  };
  const auto& rungs = p.spec.rungs;
  // A resumed trial asks about its last rung again: whoever was to answer may have died before hearing of it.
  auto rung = static_cast<std::size_t>(std::lower_bound(rungs.begin(), rungs.end(), folds.reached()) - rungs.begin());
  for (; rung < rungs.size(); ++rung) {
    if (folds.reached() < rungs[rung]) {
      for (const auto resource : looks_until(folds.reached(), rungs[rung], p.spec.resource_max)) {
        FLYWHEEL_TRY(const bool reached, folds.advance_to(resource, stop));
        if (!reached)
          return finish(trial_result::end::stopped);
      }
      // Passing through the saved state is part of the computation (see learner::save), folder or not.
      FLYWHEEL_TRY(auto state, folds.save());
      FLYWHEEL_CHECK(states.save(std::move(state)));
    }
    r.last = report_of(folds.looks().back(), rung);
    if (report && !report(r.last))
      return finish(stop.load() ? trial_result::end::stopped : trial_result::end::pruned);
  }
  return finish(trial_result::end::completed);
}

result<std::shared_ptr<const tabular_model>> fit_model(const table& train, const learning_task& task,
                                                       const trial_spec& given, std::uint32_t resource,
                                                       const fs::path& checkpoint_folder,
                                                       const std::function<void(std::uint32_t, std::uint32_t)>& progress,
                                                       const std::atomic<bool>& stop) {
  FLYWHEEL_TRY(auto p, prepare(train, task, given));
  if (resource == 0 || resource > p.spec.resource_max)
    return error{errc::invalid_argument,
                 "a fit takes 1 to " + std::to_string(p.spec.resource_max) + " units, got " + std::to_string(resource),
                 p.spec.trial};
  p.spec.rungs.clear();
  FLYWHEEL_TRY(auto one, make_learner({p.signature, p.spec, random_source::derive(p.spec.seed, "fit").next(), p.rows, {}}));
  journal_of_states states;
  FLYWHEEL_CHECK(states.open(checkpoint_folder, fingerprint(p, task, "fit/" + std::to_string(resource))));
  FLYWHEEL_TRY(const auto found, states.latest());
  std::uint32_t done = 0;
  if (found) {
    FLYWHEEL_CHECK(one->load(*found, "fit."));
    done = static_cast<std::uint32_t>(found->step);
  }
  const std::uint32_t stride = std::max(1u, (resource + fit_checkpoints - 1) / fit_checkpoints);
  while (done < resource) {
    const std::uint32_t next = std::min(resource, (done / stride + 1) * stride);
    FLYWHEEL_TRY(const bool reached, one->advance_to(next, stop));
    if (!reached)
      return error{errc::interrupted, "the fit was stopped after " + std::to_string(done) + " of " +
                                          std::to_string(resource) + " units", p.spec.trial};
    done = next;
    checkpoint c;
    c.step = done;
    FLYWHEEL_CHECK(one->save(c, "fit."));
    FLYWHEEL_CHECK(states.save(std::move(c)));
    if (progress)
      progress(done, resource);
  }
  return one->model();
}

} // namespace flywheel
