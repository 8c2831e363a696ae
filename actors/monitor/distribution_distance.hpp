#pragma once
// How far apart two distributions are, from counts alone, and how surely. Pure.
// Formulas and their limits are explained in docs/monitoring.md.

#include "cluster/dataset/reference_profile.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace flywheel {

/// Two samples over the same bins.
struct count_pair {
  std::vector<std::uint64_t> reference, live;
};

struct distance_result {
  double psi = 0;       ///< population stability index
  double distance = 0;  ///< effect size, 0..1: Kolmogorov-Smirnov distance, or total variation for categories
  double p_value = 1;   ///< of the two-sample test that the samples come from one distribution
  bool ordered = false; ///< true: Kolmogorov-Smirnov; false: chi-square
};

/// Sum over bins of (q - p) ln(q / p) with half a row added to each bin, so that an empty one gives a large but finite
/// value. Bins are first merged to those with at least a tenth (ordered) or a hundredth of the reference.
double population_stability_index(const count_pair& c, bool ordered);

/// Largest difference of the cumulative shares at the bins' edges, and Kolmogorov's asymptotic p-value for it (with
/// Stephens' small-sample correction). Binning and ties make it smaller, so the test errs on the quiet side.
double kolmogorov_smirnov_distance(const count_pair& c);
double kolmogorov_smirnov_p_value(double distance, double reference_rows, double live_rows);

/// Homogeneity of two samples; bins whose expected count is below 5 in either are merged into one. 1 if fewer than two
/// bins remain.
double chi_square_p_value(const count_pair& c);
double total_variation(const count_pair& c);

/// All of it for one feature: `live` as counts over the profile's bins or categories, plus missing (which is a bin of its own,
/// the smallest value in the order).
distance_result compare(const feature_profile& reference, std::span<const std::uint64_t> live, std::uint64_t live_missing);

/// Holm's step-down correction: p-values adjusted so that comparing each with alpha keeps the chance of any false alarm
/// among all of them at most alpha. In the order given.
std::vector<double> holm(std::span<const double> p_values);

} // namespace flywheel
