#pragma once
// A tabular network as a model. Several networks (members), trained from different seeds, may answer together: their
// probabilities, or values, are averaged.

#include "gpu/models/tabular_network.hpp"
#include "models/tabular_encoder.hpp"
#include "models/tabular_model.hpp"

#include <vector>

namespace flywheel {

/// A regression's target is learnt standardised; the answer is output * scale + offset.
struct target_scale {
  double offset = 0, scale = 1;
};

class mlp_model final : public tabular_model {
public:
  mlp_model(model_signature signature, tabular_encoder encoder, std::vector<gpu::tabular_network<float>> members,
            target_scale target);
  static result<std::shared_ptr<const tabular_model>> load(model_signature signature, const std::filesystem::path& folder);

  std::string_view family() const noexcept override { return "mlp"; }
  /// Each calling thread keeps one workspace, grown at its first call.
  void predict(std::span<const float> features, std::size_t rows, std::span<float> out) const override;
  status save(const std::filesystem::path& folder) const override;

private:
  tabular_encoder encoder_;
  std::vector<gpu::tabular_network<float>> members_;
  target_scale target_;
};

/// Rows per forward pass: enough to keep the matrix products busy, small enough for the cache.
inline constexpr std::size_t mlp_predict_rows = 128;

} // namespace flywheel
