#pragma once
// Boosted trees as a model: a flat forest behind a link function.

#include "models/flat_forest.hpp"
#include "models/tabular_model.hpp"

namespace flywheel {

/// Binary: one margin through the logistic function. Multiclass: one margin a class through softmax. Regression: the
/// margin itself.
class gbt_model final : public tabular_model {
public:
  /// The forest's outputs must fit the signature: 1, or the number of classes of a multiclass task.
  static result<std::shared_ptr<const tabular_model>> create(model_signature signature, flat_forest forest);
  static result<std::shared_ptr<const tabular_model>> load(model_signature signature, const std::filesystem::path& folder);

  std::string_view family() const noexcept override { return "gbt"; }
  void predict(std::span<const float> features, std::size_t rows, std::span<float> out) const override;
  status save(const std::filesystem::path& folder) const override;
  const flat_forest& forest() const noexcept { return forest_; }

private:
  gbt_model(model_signature signature, flat_forest forest) : tabular_model(std::move(signature)), forest_(std::move(forest)) {}
  flat_forest forest_;
};

/// In place: margins (rows x outputs of the forest, at the front of `out`) become the model's outputs (rows x outputs).
void link_margins(task_type type, std::size_t outputs, std::size_t rows, std::span<float> out) noexcept;

} // namespace flywheel
