#pragma once
// One training in progress: what run_trial and fit_model drive, and what a family must offer. A new family is a file
// that makes one of these, plus a line in families.cpp and learner.cpp.

#include "checkpoints/checkpoint.hpp"
#include "models/tabular_model.hpp"
#include "models/trial.hpp"

#include <atomic>
#include <memory>
#include <vector>

namespace flywheel {

/// Rows ready for learning: features row-major in the model's coding, and the target as class index or value.
struct learning_rows {
  std::vector<float> features;
  std::vector<double> target;
  std::size_t rows() const noexcept { return target.size(); }
  learning_rows select(std::span<const std::uint32_t> indices, std::size_t inputs) const;
};

class learner {
public:
  virtual ~learner() = default;
  /// Trains until `resource` units are spent in all. Returns false if `stop` was seen before that (within ~100 ms); the
  /// learner is then only good for being destroyed. Errors: library_failed, training_diverged.
  virtual result<bool> advance_to(std::uint32_t resource, const std::atomic<bool>& stop) = 0;
  /// Outputs (rows x outputs) for the validation rows it was made with.
  virtual result<std::vector<float>> validate() = 0;
  /// Adds the state to `c`, every tensor's name starting with `prefix`; and takes the state back from there. A learner
  /// that saved goes on exactly as one that loads what was saved. load: invalid_format if a tensor is missing.
  virtual status save(checkpoint& c, const std::string& prefix) = 0;
  virtual status load(const checkpoint& c, const std::string& prefix) = 0;
  /// The model as it is now.
  virtual result<std::shared_ptr<const tabular_model>> model() const = 0;
};

struct learner_setup {
  const model_signature& signature;
  const trial_spec& spec;       ///< resource_max is resolved (not 0)
  std::uint64_t seed;           ///< of this learner; differs between folds
  learning_rows train;
  learning_rows validation;     ///< may be empty
};

/// Checks the parameters; invalid_argument names every problem.
result<std::unique_ptr<learner>> make_learner(learner_setup setup);
result<std::unique_ptr<learner>> make_gbt_learner(learner_setup setup);
result<std::unique_ptr<learner>> make_mlp_learner(learner_setup setup);

} // namespace flywheel
