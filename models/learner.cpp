#include "models/learner.hpp"

namespace flywheel {

learning_rows learning_rows::select(std::span<const std::uint32_t> indices, std::size_t inputs) const {
  learning_rows part;
  part.features.reserve(indices.size() * inputs);
  part.target.reserve(indices.size());
  for (const auto i : indices) {
    const auto row = features.begin() + static_cast<std::ptrdiff_t>(i * inputs);
    part.features.insert(part.features.end(), row, row + static_cast<std::ptrdiff_t>(inputs));
    part.target.push_back(target[i]);
  }
  return part;
}

result<std::unique_ptr<learner>> make_learner(learner_setup setup) {
  if (setup.spec.family == "gbt")
    return make_gbt_learner(std::move(setup));
  if (setup.spec.family == "mlp")
    return make_mlp_learner(std::move(setup));
  return error{errc::unsupported, "there is no family of models named \"" + setup.spec.family + "\"", setup.spec.trial};
}

} // namespace flywheel
