// Tree-structured Parzen estimator.
//
// Bergstra, Bardenet, Bengio, Kegl, "Algorithms for Hyper-Parameter Optimization" (2011): split the finished trials into a
// few good ones and the rest, estimate a density of the parameters for each, l(x) and g(x), draw candidates from l, and
// take the one with the largest l(x) / g(x), which has the largest expected improvement.
// Watanabe, "Tree-Structured Parzen Estimator: Understanding Its Algorithm Components and Their Roles" (2023): the joint
// kernel, the floor of the bandwidth, weights that fade with age, the flat prior.
//
// Each density is a mixture: one component per trial and one for the prior. A component of a joint density is a product of
// one kernel per parameter. Numbers: a normal cut off at the ends of the range (in log space if the range is log);
// integers: the mass of such a normal over the integer's cell. Choices: weight on the seen value plus the prior's share on
// all. Trials that run now count as bad, so that parallel workers spread out (the "constant liar"); so do failed ones.

#include "actors/hpo/draw.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

namespace flywheel {
namespace {

constexpr double sqrt_half = 0.70710678118654752440;
double normal_cdf(double z) { return 0.5 * std::erfc(-z * sqrt_half); }
/// cdf(b) - cdf(a) for a <= b, exact in both tails.
double normal_mass(double a, double b) {
  return a > 0 ? normal_cdf(-a) - normal_cdf(-b) : normal_cdf(b) - normal_cdf(a);
}

/// A parameter on the axis where its kernels live.
struct axis {
  const std::string* name;
  const param_range* range;
  bool whole, choice;
  double from, to; ///< numbers: ends on the axis, half a cell beyond the first and last integer

  axis(const std::string& name_, const param_range& r)
      : name(&name_), range(&r), whole(r.type == param_range::kind::integer),
        choice(r.type == param_range::kind::choice), from(0), to(0) {
    if (choice)
      return;
    from = onto(whole ? std::ceil(r.low) - 0.5 : r.low);
    to = onto(whole ? std::floor(r.high) + 0.5 : r.high);
  }
  double width() const { return to - from; }
  double onto(double x) const { return range->log ? std::log(x) : x; }
  double off(double x) const { return range->log ? std::exp(x) : x; }

  /// The position of a value: on the axis, or the index of the choice.
  double position(const param_value& v) const {
    if (choice) {
      const auto at = std::find(range->choices.begin(), range->choices.end(), std::get<std::string>(v));
      return static_cast<double>(at - range->choices.begin());
    }
    return onto(whole ? static_cast<double>(std::get<std::int64_t>(v)) : std::get<double>(v));
  }
  param_value value(double position) const {
    if (choice)
      return range->choices[static_cast<std::size_t>(position)];
    const double x = off(position);
    if (!whole)
      return std::clamp(x, range->low, range->high);
    return static_cast<std::int64_t>(std::clamp(std::round(x), std::ceil(range->low), std::floor(range->high)));
  }
};

/// One parameter's kernels in a mixture: component i sits at `center[i]` with width `sigma[i]`; the prior is the last.
class kernels {
public:
  kernels(const axis& a, std::vector<double> centers, const tpe_options& o)
      : axis_(&a), center_(std::move(centers)), prior_weight_(o.prior_weight) {
    if (a.choice) {
      center_.push_back(-1); // the prior: no choice is favoured
      return;
    }
    const std::size_t n = center_.size();
    sigma_ = neighbour_gaps();
    // The floor keeps a density from collapsing onto trials that happen to lie together.
    const double least = a.width() / static_cast<double>(std::min<std::size_t>(100, n + 2));
    for (auto& s : sigma_)
      s = std::clamp(s, least, a.width());
    center_.push_back(0.5 * (a.from + a.to)); // the prior: as wide as the range
    sigma_.push_back(a.width());
    for (std::size_t i = 0; i <= n; ++i)
      log_scale_.push_back(-std::log(std::max(mass(i, a.from, a.to), 1e-300)) -
                           (a.whole ? 0.0 : std::log(sigma_[i]) + 0.91893853320467274178));
  }

  /// Log of component i's density (or mass) at a value's position.
  double log_density(std::size_t i, double x) const {
    if (axis_->choice) {
      const auto n = static_cast<double>(axis_->range->choices.size());
      if (center_[i] < 0)
        return -std::log(n);
      const double share = prior_weight_ / static_cast<double>(center_.size());
      return std::log(((center_[i] == x ? 1.0 : 0.0) + share) / (1.0 + share * n));
    }
    if (axis_->width() <= 0)
      return 0;
    if (axis_->whole) {
      const double at = axis_->off(x);
      return std::log(std::max(mass(i, axis_->onto(at - 0.5), axis_->onto(at + 0.5)), 1e-300)) + log_scale_[i];
    }
    const double z = (x - center_[i]) / sigma_[i];
    return -0.5 * z * z + log_scale_[i];
  }

  double draw(std::size_t i, random_source& random) const {
    if (axis_->choice) {
      const std::size_t n = axis_->range->choices.size();
      const double share = prior_weight_ / static_cast<double>(center_.size());
      if (center_[i] >= 0 && random.uniform() * (1.0 + share * static_cast<double>(n)) < 1.0)
        return center_[i];
      return static_cast<double>(random.below(n));
    }
    // The centre is inside, so at least a third of the draws are: this ends soon.
    for (;;)
      if (const double x = center_[i] + sigma_[i] * random.normal(); x >= axis_->from && x <= axis_->to)
        return axis_->position(axis_->value(x));
  }

private:
  double mass(std::size_t i, double low, double high) const {
    return normal_mass((low - center_[i]) / sigma_[i], (high - center_[i]) / sigma_[i]);
  }
  /// Bergstra's rule: each kernel as wide as the larger of the gaps to its two neighbours, so that a density is fine where
  /// trials are many. At the ends there is one neighbour; a kernel alone reaches to the farther end of the range.
  std::vector<double> neighbour_gaps() const {
    const std::size_t n = center_.size();
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return center_[a] < center_[b]; });
    std::vector<double> gaps(n, 0.0);
    if (n == 1)
      gaps[0] = std::max(center_[0] - axis_->from, axis_->to - center_[0]);
    for (std::size_t k = 1; k < n; ++k) {
      const double gap = center_[order[k]] - center_[order[k - 1]];
      gaps[order[k]] = std::max(gaps[order[k]], gap);
      gaps[order[k - 1]] = std::max(gaps[order[k - 1]], gap);
    }
    return gaps;
  }

  const axis* axis_;
  std::vector<double> center_, sigma_, log_scale_;
  double prior_weight_;
};

/// A density over some parameters together: a mixture with one component per trial.
class mixture {
public:
  mixture(std::span<const axis> axes, const std::vector<const past_trial*>& trials, const tpe_options& o) {
    for (const auto& a : axes) {
      std::vector<double> centers;
      for (const auto* t : trials)
        centers.push_back(a.position(t->params.at(*a.name)));
      kernels_.emplace_back(a, std::move(centers), o);
    }
    // Old trials fade: they were drawn from an older, worse idea of where to look.
    const std::size_t n = trials.size();
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t fading = n > o.recent ? n - o.recent : 0;
      const double floor = 1.0 / static_cast<double>(n);
      weight_.push_back(i >= fading ? 1.0
                                    : floor + (1.0 - floor) * static_cast<double>(i) / static_cast<double>(fading));
    }
    weight_.push_back(o.prior_weight > 0 || n > 0 ? o.prior_weight : 1.0);
    const double total = std::accumulate(weight_.begin(), weight_.end(), 0.0);
    for (auto& w : weight_)
      w /= total;
  }

  std::vector<double> draw(random_source& random) const {
    double u = random.uniform();
    std::size_t i = 0;
    while (i + 1 < weight_.size() && u >= weight_[i])
      u -= weight_[i++];
    std::vector<double> x;
    for (const auto& k : kernels_)
      x.push_back(k.draw(i, random));
    return x;
  }

  double log_density(const std::vector<double>& x) const {
    std::vector<double> terms;
    for (std::size_t i = 0; i < weight_.size(); ++i) {
      double sum = std::log(std::max(weight_[i], 1e-300));
      for (std::size_t d = 0; d < kernels_.size(); ++d)
        sum += kernels_[d].log_density(i, x[d]);
      terms.push_back(sum);
    }
    const double top = *std::max_element(terms.begin(), terms.end());
    double rest = 0;
    for (const double t : terms)
      rest += std::exp(t - top);
    return top + std::log(rest);
  }

private:
  std::vector<kernels> kernels_;
  std::vector<double> weight_;
};

struct split_trials {
  std::vector<const past_trial*> good, bad; ///< each in the order of numbers
  std::size_t finished = 0;
};

/// Completed trials by value, then pruned ones by how far they came; running and failed ones are bad.
split_trials split(const search_space& space, const sampler_history& h, const tpe_options& o) {
  std::vector<const past_trial*> ranked, rest;
  for (const auto& t : h.trials) {
    if (!inside(space, t.params))
      continue;
    const bool judged = (t.how == trial_outcome::completed || t.how == trial_outcome::pruned) && std::isfinite(t.value);
    (judged ? ranked : rest).push_back(&t);
  }
  std::sort(ranked.begin(), ranked.end(), [&](const auto* a, const auto* b) {
    if (a->how != b->how)
      return a->how == trial_outcome::completed;
    if (a->how == trial_outcome::pruned && a->resource != b->resource)
      return a->resource > b->resource;
    if (a->value != b->value)
      return h.maximise ? a->value > b->value : a->value < b->value;
    return a->number < b->number;
  });
  split_trials s;
  s.finished = ranked.size();
  const auto share = static_cast<std::size_t>(std::ceil(o.gamma * static_cast<double>(ranked.size())));
  const std::size_t good = std::min<std::size_t>(share, o.good_max);
  s.good.assign(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(good));
  s.bad.assign(ranked.begin() + static_cast<std::ptrdiff_t>(good), ranked.end());
  s.bad.insert(s.bad.end(), rest.begin(), rest.end());
  const auto by_number = [](const auto* a, const auto* b) { return a->number < b->number; };
  std::sort(s.good.begin(), s.good.end(), by_number);
  std::sort(s.bad.begin(), s.bad.end(), by_number);
  return s;
}

class tpe_sampler final : public sampler {
public:
  explicit tpe_sampler(const tpe_options& o) : options_(o) {}
  std::string_view name() const noexcept override { return "tpe"; }

  suggestion propose(const search_space& space, const sampler_history& history, std::uint64_t seed,
                     std::uint32_t trial_number) const override {
    auto random = random_source::derive(seed, "tpe/" + std::to_string(trial_number));
    const auto seen = tried_points(space, history);
    const auto parts = split(space, history, options_);
    if (parts.finished < std::max<std::size_t>(options_.startup, 1)) {
      auto fresh = draw_unseen(space, seen, random);
      if (!fresh)
        return exhausted(space);
      return {std::move(*fresh), "random",
              "drawn at random: " + std::to_string(parts.finished) + " of the " + std::to_string(options_.startup) +
                  " finished trials that TPE needs first",
              false};
    }

    std::vector<axis> axes;
    for (const auto& [name, range] : space)
      axes.emplace_back(name, range);
    auto best = best_candidate(axes, parts, random, seen);
    if (best.params.empty() || seen.contains(best.params)) {
      auto fresh = draw_unseen(space, seen, random);
      if (!fresh)
        return exhausted(space);
      return {std::move(*fresh), "random", "drawn at random: every candidate of TPE had been tried already", false};
    }
    return {std::move(best.params), "tpe",
            "the best of " + std::to_string(options_.candidates) + " candidates: " +
                format_number(std::round(10 * std::exp(std::min(best.log_ratio, 30.0))) / 10) +
                " times likelier under the " + std::to_string(parts.good.size()) + " good than under the " +
                std::to_string(parts.bad.size()) + " other trials",
            false};
  }

private:
  struct candidate {
    param_set params;
    double log_ratio = 0;
  };

  candidate best_candidate(std::span<const axis> axes, const split_trials& parts, random_source& random,
                           const std::set<param_set>& seen) const {
    const mixture good(axes, parts.good, options_), bad(axes, parts.bad, options_);
    candidate best;
    for (std::uint32_t i = 0; i < options_.candidates; ++i) {
      const auto x = good.draw(random);
      const double ratio = good.log_density(x) - bad.log_density(x);
      if (!best.params.empty() && ratio <= best.log_ratio)
        continue;
      param_set p;
      for (std::size_t d = 0; d < axes.size(); ++d)
        p.emplace(*axes[d].name, axes[d].value(x[d]));
      if (!seen.contains(p))
        best = {std::move(p), ratio};
    }
    return best;
  }

  tpe_options options_;
};

} // namespace

std::unique_ptr<sampler> make_tpe_sampler(const tpe_options& options) { return std::make_unique<tpe_sampler>(options); }

} // namespace flywheel
