#pragma once
// What the data looked like when the model was made, small enough to keep with the model for ever: the yardstick of every
// later drift test. Counts per bin, never rows. JSON form in docs/monitoring.md.
//
// Values are rounded to float before they are binned, here and live: the model server speaks float, and 265.1 and
// 265.1f must land in the same bin.

#include "cluster/dataset/table.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// The distribution of one column.
struct feature_profile {
  std::string name;
  column_type type = column_type::numeric;
  /// Numeric: strictly increasing inner edges, each a float value seen in the data; bin i holds (edges[i-1], edges[i]],
  /// the last bin everything above. At most `profile_bins_max - 1` edges, at (nearly) equal counts.
  std::vector<double> edges;
  /// Categorical: the names, in the order of the column's codes.
  std::vector<std::string> categories;
  /// Rows per bin (edges + 1) or per category.
  std::vector<std::uint64_t> counts;
  std::uint64_t missing = 0;

  /// Rows including missing ones.
  std::uint64_t rows() const noexcept;
  /// Numeric: the bin of `x`; infinities go to the outer bins; nothing for NaN.
  std::optional<std::size_t> bin_of(double x) const noexcept;
  /// Categorical: the index of a name; nothing if it was never seen.
  std::optional<std::size_t> category_of(std::string_view text) const noexcept;
  bool operator==(const feature_profile&) const = default;
};

struct reference_profile {
  std::uint32_t version = 1;
  std::uint64_t rows = 0;
  std::vector<feature_profile> features;     ///< all columns but the target, in the table's order
  std::optional<feature_profile> target;     ///< absent if the table has none of that name
  std::optional<feature_profile> prediction; ///< of the model on held-out rows; whoever evaluates the model fills it in
  const feature_profile* find(std::string_view name) const noexcept;
  bool operator==(const reference_profile&) const = default;
};

/// Fine enough that the binned Kolmogorov-Smirnov distance is within 1/128 of the exact one.
inline constexpr std::size_t profile_bins_max = 128;

feature_profile build_feature_profile(const column& c);
/// From plain numbers (predicted values or probabilities).
feature_profile build_feature_profile(std::string name, const std::vector<double>& numbers);
/// `target` may be empty. Deterministic: the same table gives the same profile to the bit.
reference_profile build_profile(const table& t, std::string_view target);

nlohmann::json to_json(const reference_profile& p);
/// invalid_format naming the place, or incompatible_version. Lengths, order and sums are checked: what comes back is sound.
result<reference_profile> profile_from_json(const nlohmann::json& j);

} // namespace flywheel
