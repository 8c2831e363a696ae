#pragma once
// Does "80 % sure" come true 80 times in 100? And where do the errors lie? Classification only.

#include "actors/evaluator/interval.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace flywheel {

struct reliability_bin {
  double from = 0, to = 1;   ///< of the stated probability
  std::uint64_t rows = 0;
  double stated = 0;         ///< mean stated probability; 0 if empty
  double observed = 0;       ///< share in which it came true; 0 if empty
  bool operator==(const reliability_bin&) const = default;
};

/// Binary: the probability of class 1 against the share of class 1. Multiclass: the probability of the chosen class
/// against the share of right answers.
struct calibration {
  std::vector<reliability_bin> bins;  ///< equal width over [0, 1]
  double ece = 0;                     ///< expected calibration error: mean |stated - observed| weighted by rows
  double brier = 0;                   ///< mean squared distance to the truth; binary: of class 1 alone, else over all classes
};
calibration measure_calibration(const judged_rows& r, std::size_t bins = 10);

/// Row: true class; column: predicted class.
using confusion_matrix = std::vector<std::vector<std::uint64_t>>;
confusion_matrix count_confusion(const judged_rows& r);

} // namespace flywheel
