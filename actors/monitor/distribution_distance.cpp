#include "actors/monitor/distribution_distance.hpp"

#include "cluster/base/assert.hpp"

#include <boost/math/special_functions/gamma.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace flywheel {
namespace {

/// A numeric column with so few distinct values is compared value by value rather than by order.
constexpr std::size_t few_values = 10;

double total(const std::vector<std::uint64_t>& counts) {
  return static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
}

/// Neighbours merged until each holds `share` of the reference.
count_pair coarse(const count_pair& c, double share) {
  const double enough = share * total(c.reference);
  count_pair merged;
  std::uint64_t reference = 0, live = 0;
  for (std::size_t i = 0; i < c.reference.size(); ++i) {
    reference += c.reference[i];
    live += c.live[i];
    if (static_cast<double>(reference) >= enough && reference > 0) {
      merged.reference.push_back(std::exchange(reference, 0));
      merged.live.push_back(std::exchange(live, 0));
    }
  }
  if (reference > 0 || live > 0) {
    if (merged.reference.empty()) {
      merged.reference.push_back(reference);
      merged.live.push_back(live);
    } else {
      merged.reference.back() += reference;
      merged.live.back() += live;
    }
  }
  return merged;
}

/// Categories with less than `share` of the reference pooled into one at the end.
count_pair pooled(const count_pair& c, double share) {
  const double enough = share * total(c.reference);
  count_pair merged;
  std::uint64_t reference = 0, live = 0;
  for (std::size_t i = 0; i < c.reference.size(); ++i) {
    if (static_cast<double>(c.reference[i]) >= enough && c.reference[i] > 0) {
      merged.reference.push_back(c.reference[i]);
      merged.live.push_back(c.live[i]);
    } else {
      reference += c.reference[i];
      live += c.live[i];
    }
  }
  if (reference > 0 || live > 0) {
    merged.reference.push_back(reference);
    merged.live.push_back(live);
  }
  return merged;
}

double psi_of(const count_pair& bins) {
  const double k = static_cast<double>(bins.reference.size());
  const double reference = total(bins.reference) + 0.5 * k, live = total(bins.live) + 0.5 * k;
  double psi = 0;
  for (std::size_t i = 0; i < bins.reference.size(); ++i) {
    const double p = (static_cast<double>(bins.reference[i]) + 0.5) / reference;
    const double q = (static_cast<double>(bins.live[i]) + 0.5) / live;
    psi += (q - p) * std::log(q / p);
  }
  return psi;
}

} // namespace

double population_stability_index(const count_pair& c, bool ordered) {
  return psi_of(ordered ? coarse(c, 0.1) : pooled(c, 0.01));
}

double kolmogorov_smirnov_distance(const count_pair& c) {
  const double reference = total(c.reference), live = total(c.live);
  if (reference == 0 || live == 0)
    return 0;
  double p = 0, q = 0, largest = 0;
  for (std::size_t i = 0; i < c.reference.size(); ++i) {
    p += static_cast<double>(c.reference[i]);
    q += static_cast<double>(c.live[i]);
    largest = std::max(largest, std::abs(p / reference - q / live));
  }
  return largest;
}

double kolmogorov_smirnov_p_value(double distance, double reference_rows, double live_rows) {
  if (reference_rows <= 0 || live_rows <= 0)
    return 1;
  const double root = std::sqrt(reference_rows * live_rows / (reference_rows + live_rows));
  const double t = (root + 0.12 + 0.11 / root) * distance;
  if (t < 0.2) // the series below converges slowly there, and the answer is 1 to 12 digits
    return 1;
  double sum = 0, sign = 1;
  for (int j = 1; j <= 100; ++j, sign = -sign) {
    const double term = std::exp(-2.0 * j * j * t * t);
    sum += sign * term;
    if (term < 1e-18)
      break;
  }
  return std::clamp(2 * sum, 0.0, 1.0);
}

double chi_square_p_value(const count_pair& c) {
  const double reference = total(c.reference), live = total(c.live), all = reference + live;
  if (reference == 0 || live == 0)
    return 1;
  const double smaller = std::min(reference, live) / all;
  double statistic = 0, rare_reference = 0, rare_live = 0;
  int bins = 0;
  const auto add = [&](double r, double l) {
    const double expected_reference = (r + l) * reference / all, expected_live = (r + l) * live / all;
    statistic += (r - expected_reference) * (r - expected_reference) / expected_reference +
                 (l - expected_live) * (l - expected_live) / expected_live;
    ++bins;
  };
  for (std::size_t i = 0; i < c.reference.size(); ++i) {
    const double r = static_cast<double>(c.reference[i]), l = static_cast<double>(c.live[i]);
    if ((r + l) * smaller < 5) {
      rare_reference += r;
      rare_live += l;
    } else {
      add(r, l);
    }
  }
  if ((rare_reference + rare_live) * smaller >= 5)
    add(rare_reference, rare_live);
  return bins < 2 ? 1 : boost::math::gamma_q(0.5 * (bins - 1), 0.5 * statistic);
}

double total_variation(const count_pair& c) {
  const double reference = total(c.reference), live = total(c.live);
  if (reference == 0 || live == 0)
    return 0;
  double sum = 0;
  for (std::size_t i = 0; i < c.reference.size(); ++i)
    sum += std::abs(static_cast<double>(c.reference[i]) / reference - static_cast<double>(c.live[i]) / live);
  return 0.5 * sum;
}

distance_result compare(const feature_profile& reference, std::span<const std::uint64_t> live, std::uint64_t live_missing) {
  FLYWHEEL_ASSERT(live.size() == reference.counts.size(), "live counts are over the profile's own bins");
  count_pair c;
  c.reference.push_back(reference.missing);
  c.reference.insert(c.reference.end(), reference.counts.begin(), reference.counts.end());
  c.live.push_back(live_missing);
  c.live.insert(c.live.end(), live.begin(), live.end());

  distance_result r;
  r.ordered = reference.type == column_type::numeric && reference.counts.size() > few_values;
  // Missing is a bin of its own for the index, however rare it was.
  count_pair present{{c.reference.begin() + 1, c.reference.end()}, {c.live.begin() + 1, c.live.end()}};
  auto bins = r.ordered ? coarse(present, 0.1) : pooled(present, 0.01);
  if (c.reference[0] > 0 || c.live[0] > 0) {
    bins.reference.push_back(c.reference[0]);
    bins.live.push_back(c.live[0]);
  }
  r.psi = psi_of(bins);
  if (r.ordered) {
    r.distance = kolmogorov_smirnov_distance(c);
    r.p_value = kolmogorov_smirnov_p_value(r.distance, total(c.reference), total(c.live));
  } else {
    r.distance = total_variation(c);
    r.p_value = chi_square_p_value(c);
  }
  return r;
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, p_values[order[rank]] * static_cast<double>(p_values.size() - rank));
    adjusted[order[rank]] = std::min(1.0, largest);
  }
  return adjusted;
}

} // namespace flywheel
