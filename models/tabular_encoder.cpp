#include "models/tabular_encoder.hpp"

#include "models/features.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

namespace {

struct moments {
  double mean = 0, deviation = 1;
};

/// Of the finite values; a constant or empty column keeps deviation 1, so that nothing is divided by zero.
moments moments_of(const std::vector<double>& values) {
  if (values.empty())
    return {};
  const auto n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const double x : values)
    mean += x / n;
  for (const double x : values)
    squares += (x - mean) * (x - mean) / n;
  const double deviation = std::sqrt(squares);
  return {mean, deviation > 1e-12 * std::fabs(mean) && deviation > 1e-300 ? deviation : 1.0};
}

/// Quantiles of sorted values, duplicates dropped; at least two edges.
std::vector<double> edges_of(const std::vector<double>& sorted, std::uint32_t segments) {
  std::vector<double> edges;
  for (std::uint32_t k = 0; k <= segments && !sorted.empty(); ++k) {
    const double place = static_cast<double>(sorted.size() - 1) * k / segments;
    const double x = sorted[static_cast<std::size_t>(std::lround(place))];
    // In float the edges must still differ, for that is what the network computes with.
    if (edges.empty() || static_cast<float>(x) > static_cast<float>(edges.back()))
      edges.push_back(x);
  }
  if (edges.empty())
    edges.push_back(0);
  if (edges.size() == 1)
    edges.push_back(edges.front() + 1);
  return edges;
}

} // namespace

tabular_encoder::tabular_encoder(const model_signature& s) {
  const auto counts = category_counts(s);
  for (std::uint32_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) {
      numeric_inputs_.push_back(i);
    } else {
      category_inputs_.push_back(i);
      table_rows_.push_back(counts[i] + 1);
    }
  }
}

tabular_encoder tabular_encoder::fit(const model_signature& s, std::span<const float> features, std::uint32_t segments) {
  tabular_encoder e{s};
  const std::size_t width = s.inputs.size();
  for (const auto input : e.numeric_inputs_) {
    std::vector<double> values;
    for (std::size_t i = input; i < features.size(); i += width) {
      if (std::isfinite(features[i]))
        values.push_back(static_cast<double>(features[i]));
    }
    const auto [mean, deviation] = moments_of(values);
    for (double& x : values)
      x = (x - mean) / deviation;
    std::sort(values.begin(), values.end());
    e.means_.push_back(mean);
    e.deviations_.push_back(deviation);
    e.edges_.push_back(edges_of(values, segments));
  }
  return e;
}

void tabular_encoder::encode_row(const float* features, float* to_numbers, std::uint32_t* to_categories) const noexcept {
  for (std::size_t f = 0; f < numeric_inputs_.size(); ++f)
    to_numbers[f] = static_cast<float>((static_cast<double>(features[numeric_inputs_[f]]) - means_[f]) / deviations_[f]);
  for (std::size_t k = 0; k < category_inputs_.size(); ++k) {
    const float code = features[category_inputs_[k]];
    const bool known = code >= 0 && code < static_cast<float>(table_rows_[k] - 1) && code == std::floor(code);
    to_categories[k] = known ? static_cast<std::uint32_t>(code) + 1 : 0;
  }
}

tabular_encoder::state tabular_encoder::save() const {
  state s{means_, deviations_, {}, {}};
  for (const auto& e : edges_) {
    s.edges.insert(s.edges.end(), e.begin(), e.end());
    s.edge_counts.push_back(static_cast<std::uint32_t>(e.size()));
  }
  return s;
}

result<tabular_encoder> tabular_encoder::load(const model_signature& s, const state& from) {
  tabular_encoder e{s};
  const auto bad = [](const char* what) { return error{errc::invalid_format, what, "encoder"}; };
  const std::size_t n = e.numeric_inputs_.size();
  if (from.means.size() != n || from.deviations.size() != n || from.edge_counts.size() != n)
    return bad("it does not have one entry per numeric input");
  std::size_t at = 0;
  for (std::size_t f = 0; f < n; ++f) {
    const std::size_t count = from.edge_counts[f];
    if (count < 2 || count > from.edges.size() - at)
      return bad("a number has too few edges");
    if (!std::isfinite(from.means[f]) || !std::isfinite(from.deviations[f]) || from.deviations[f] <= 0)
      return bad("a mean or deviation is unusable");
    const auto first = from.edges.begin() + static_cast<std::ptrdiff_t>(at);
    std::vector<double> edges(first, first + static_cast<std::ptrdiff_t>(count));
    for (std::size_t k = 0; k < count; ++k) {
      if (!std::isfinite(edges[k]) || (k > 0 && !(static_cast<float>(edges[k]) > static_cast<float>(edges[k - 1]))))
        return bad("edges must be finite and increase");
    }
    e.edges_.push_back(std::move(edges));
    at += count;
  }
  if (at != from.edges.size())
    return bad("there are more edges than numbers have");
  e.means_ = from.means;
  e.deviations_ = from.deviations;
  return e;
}

} // namespace flywheel
