#pragma once
// A fitted model for table rows: encoder and family together, immutable, thread-safe, able to live in a file.

#include "cluster/dataset/table.hpp"
#include "models/task.hpp"

#include <filesystem>
#include <memory>
#include <span>

namespace flywheel {

/// One input of the model, as a client must send it.
struct model_input {
  std::string name;
  column_type type = column_type::numeric;
  std::vector<std::string> categories; ///< known values; an unknown one is treated as missing and counted by the monitor
};

struct model_signature {
  task_type type = task_type::binary;
  std::string target;
  std::vector<model_input> inputs;
  std::vector<std::string> classes; ///< labels by output index; empty for regression
  std::size_t outputs() const noexcept { return classes.empty() ? 1 : classes.size(); }
};

/// What stands for a category that the model has never seen: missing to the model, told apart by whoever watches it.
inline constexpr float unseen_category = -2;

/// Rows travel as floats, row-major, one per input: a number, or a category's code; NaN (or a negative code) is missing.
class tabular_model {
public:
  virtual ~tabular_model() = default;
  const model_signature& signature() const noexcept { return signature_; }
  /// "gbt" or "mlp".
  virtual std::string_view family() const noexcept = 0;
  /// `rows` x inputs in, `rows` x outputs out (probabilities, or the value). Any thread. No allocation per row.
  virtual void predict(std::span<const float> features, std::size_t rows, std::span<float> out) const = 0;
  /// Writes the model's files into `folder` (which exists): model.json plus what the family needs, all checksummed there.
  virtual status save(const std::filesystem::path& folder) const = 0;

protected:
  explicit tabular_model(model_signature s) : signature_(std::move(s)) {}
  model_signature signature_;
};

/// Reads what save() wrote; checksum_mismatch, invalid_format or incompatible_version otherwise. Never a damaged model.
result<std::shared_ptr<const tabular_model>> load_model(const std::filesystem::path& folder);

/// Features of `t` in the model's order and coding (unknown categories become missing). Error if a column is absent.
result<std::vector<float>> encode_features(const model_signature& s, const table& t);
/// Class index (or value) of the target per row; error if the target is missing in a row or is not one of the classes.
result<std::vector<double>> encode_target(const model_signature& s, const table& t);

} // namespace flywheel
