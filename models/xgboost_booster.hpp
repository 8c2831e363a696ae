#pragma once
// The one gate to XGBoost's C library: owns its handles and translates its errors. Used for training only.

#include "cluster/base/error.hpp"
#include "models/flat_forest.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace flywheel {

/// Rows x inputs floats with labels. Categorical inputs hold codes; NaN is missing. Movable.
class boost_matrix {
public:
  /// `category_counts[i]` is 0 for a numeric input. Copies everything.
  static result<boost_matrix> create(std::span<const float> features, std::span<const float> labels,
                                     std::span<const std::uint32_t> category_counts);
  void* handle() const noexcept { return handle_.get(); }
  std::size_t rows() const noexcept { return rows_; }

private:
  std::shared_ptr<void> handle_;
  std::size_t rows_ = 0;
};

using boost_params = std::map<std::string, std::string>;

class booster {
public:
  /// `watched` are the matrices whose predictions are kept up to date at little cost; they must outlive the booster.
  static result<booster> create(const boost_params& params, std::vector<const boost_matrix*> watched);
  /// One more round on `train`; `round` counts from 0 and seeds that round's sampling.
  status update(std::uint32_t round, const boost_matrix& train);
  /// Margins of every row (rows x outputs).
  result<std::vector<float>> margins(const boost_matrix& rows) const;
  /// Everything needed to go on training.
  result<std::string> state() const;
  /// A booster that goes on from state(). Note: XGBoost does not save the generator of its column sampling, so whoever
  /// wants resumed and undisturbed runs to agree must pass through state() and restore() at the same rounds in both.
  static result<booster> restore(const std::string& state, const boost_params& params,
                                 std::vector<const boost_matrix*> watched);
  /// The trees for answering. `base` is the margin every row starts from, per output.
  result<flat_forest> forest(std::vector<float> base, std::vector<std::uint32_t> category_counts) const;

private:
  std::shared_ptr<void> handle_;
};

} // namespace flywheel
