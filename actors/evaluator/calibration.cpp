#include "actors/evaluator/calibration.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

calibration measure_calibration(const judged_rows& r, std::size_t bins) {
  calibration c;
  bins = std::max<std::size_t>(bins, 1);
  for (std::size_t b = 0; b < bins; ++b)
    c.bins.push_back({static_cast<double>(b) / static_cast<double>(bins),
                      static_cast<double>(b + 1) / static_cast<double>(bins), 0, 0, 0});
  const bool binary = r.classes == 2;
  for (std::size_t i = 0; i < r.rows(); ++i) {
    const auto truth = static_cast<std::size_t>(r.truth[i]);
    const std::size_t watched = binary ? 1 : r.predicted_class(i);
    const double stated = static_cast<double>(r.predicted[i * r.classes + watched]);
    auto& bin = c.bins[std::min(bins - 1, static_cast<std::size_t>(std::clamp(stated, 0.0, 1.0) *
                                                                  static_cast<double>(bins)))];
    ++bin.rows;
    bin.stated += stated;
    bin.observed += truth == watched;
    for (std::size_t k = binary ? 1 : 0; k < r.classes; ++k) {
      const double miss = static_cast<double>(r.predicted[i * r.classes + k]) - (truth == k ? 1 : 0);
      c.brier += miss * miss;
    }
  }
  const double n = static_cast<double>(std::max<std::size_t>(r.rows(), 1));
  c.brier /= n;
  for (auto& bin : c.bins) {
    if (bin.rows == 0)
      continue;
    bin.stated /= static_cast<double>(bin.rows);
    bin.observed /= static_cast<double>(bin.rows);
    c.ece += std::abs(bin.stated - bin.observed) * static_cast<double>(bin.rows) / n;
  }
  return c;
}

confusion_matrix count_confusion(const judged_rows& r) {
  confusion_matrix m(r.classes, std::vector<std::uint64_t>(r.classes, 0));
  for (std::size_t i = 0; i < r.rows(); ++i)
    ++m[static_cast<std::size_t>(r.truth[i])][r.predicted_class(i)];
  return m;
}

} // namespace flywheel
