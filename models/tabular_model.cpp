#include "models/tabular_model.hpp"

#include "models/gbt_model.hpp"
#include "models/mlp_model.hpp"
#include "models/model_file.hpp"

namespace flywheel {

result<std::shared_ptr<const tabular_model>> load_model(const std::filesystem::path& folder) {
  FLYWHEEL_TRY(auto file, read_model_file(folder));
  if (file.family == "gbt")
    return gbt_model::load(std::move(file.signature), folder);
  if (file.family == "mlp")
    return mlp_model::load(std::move(file.signature), folder);
  return error{errc::unsupported, "this program has no family of models named \"" + file.family + "\"", folder.string(),
               "use the program that wrote it, or a newer one"};
}

} // namespace flywheel
