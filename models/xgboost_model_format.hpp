#pragma once
// XGBoost's own model bytes (UBJSON, so that floats arrive exactly), read into a flat forest.

#include "models/flat_forest.hpp"

#include <string_view>

namespace flywheel {

/// invalid_format or unsupported (a booster other than gbtree) with the tree concerned.
result<flat_forest> forest_from_xgboost(std::string_view ubjson, std::vector<float> base,
                                        std::vector<std::uint32_t> category_counts);

} // namespace flywheel
