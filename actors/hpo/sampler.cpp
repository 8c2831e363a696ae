#include "actors/hpo/sampler.hpp"

#include "actors/hpo/draw.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace flywheel {
namespace {

status bad(const std::string& name, std::string what, std::string hint) {
  return error{errc::invalid_argument, "parameter \"" + name + "\": " + std::move(what), {}, std::move(hint)};
}

status check_range(const std::string& name, const param_range& r) {
  if (r.type == param_range::kind::choice) {
    if (r.choices.empty())
      return bad(name, "it has no choices", "list at least one choice");
    if (std::set<std::string>(r.choices.begin(), r.choices.end()).size() != r.choices.size())
      return bad(name, "a choice is listed twice", "list each choice once");
    return success();
  }
  if (!std::isfinite(r.low) || !std::isfinite(r.high))
    return bad(name, "a bound is not a finite number", "give finite bounds");
  if (r.low > r.high)
    return bad(name, "low " + format_number(r.low) + " is above high " + format_number(r.high), "swap the bounds");
  if (r.log && r.low <= 0)
    return bad(name, "a log scale needs low > 0, and low is " + format_number(r.low), "raise low or drop log");
  if (r.type == param_range::kind::integer) {
    if (std::ceil(r.low) > std::floor(r.high))
      return bad(name, "there is no integer between " + format_number(r.low) + " and " + format_number(r.high),
                 "widen the range");
    if (std::abs(r.low) > 9e15 || std::abs(r.high) > 9e15)
      return bad(name, "a bound is beyond 9e15, where doubles skip integers", "narrow the range");
  }
  return success();
}

bool inside(const param_range& r, const param_value& v) {
  switch (r.type) {
  case param_range::kind::integer: {
    const auto* x = std::get_if<std::int64_t>(&v);
    return x && static_cast<double>(*x) >= r.low && static_cast<double>(*x) <= r.high;
  }
  case param_range::kind::real: {
    const auto* x = std::get_if<double>(&v);
    return x && *x >= r.low && *x <= r.high;
  }
  case param_range::kind::choice: {
    const auto* x = std::get_if<std::string>(&v);
    return x && std::find(r.choices.begin(), r.choices.end(), *x) != r.choices.end();
  }
  }
  return false;
}

/// The `index`-th point of a finite space, counting the last parameter fastest.
param_set point_at(const search_space& space, std::uint64_t index) {
  param_set p;
  for (auto it = space.rbegin(); it != space.rend(); ++it) {
    const auto& r = it->second;
    if (r.type == param_range::kind::choice) {
      p[it->first] = r.choices[index % r.choices.size()];
      index /= r.choices.size();
    } else if (r.type == param_range::kind::integer) {
      const auto low = static_cast<std::int64_t>(std::ceil(r.low));
      const auto n = static_cast<std::uint64_t>(static_cast<std::int64_t>(std::floor(r.high)) - low + 1);
      p[it->first] = low + static_cast<std::int64_t>(index % n);
      index /= n;
    } else {
      p[it->first] = r.low; // a finite space has only reals with low == high
    }
  }
  return p;
}

class random_sampler final : public sampler {
public:
  std::string_view name() const noexcept override { return "random"; }
  suggestion propose(const search_space& space, const sampler_history& history, std::uint64_t seed,
                     std::uint32_t trial_number) const override {
    auto random = random_source::derive(seed, "random/" + std::to_string(trial_number));
    auto fresh = draw_unseen(space, tried_points(space, history), random);
    if (!fresh)
      return exhausted(space);
    return {std::move(*fresh), "random", "drawn at random from " + std::to_string(space.size()) + " parameters", false};
  }
};

} // namespace

status check_space(const search_space& space) {
  if (space.empty())
    return {errc::invalid_argument, "the search space has no parameters"};
  for (const auto& [name, range] : space)
    FLYWHEEL_CHECK(check_range(name, range));
  return success();
}

std::uint64_t cardinality(const search_space& space) {
  constexpr double countable = 4294967296.0;
  double n = 1;
  for (const auto& [name, r] : space) {
    if (r.type == param_range::kind::choice)
      n *= static_cast<double>(r.choices.size());
    else if (r.type == param_range::kind::integer)
      n *= std::floor(r.high) - std::ceil(r.low) + 1;
    else if (r.low < r.high)
      return 0;
    if (n > countable)
      return 0;
  }
  return static_cast<std::uint64_t>(n);
}

bool inside(const search_space& space, const param_set& params) {
  return std::all_of(space.begin(), space.end(), [&](const auto& entry) {
           const auto it = params.find(entry.first);
           return it != params.end() && inside(entry.second, it->second);
         });
}

param_set clamp_into(const search_space& space, const param_set& params) {
  param_set p;
  for (const auto& [name, r] : space) {
    const auto it = params.find(name);
    if (r.type == param_range::kind::choice) {
      const bool known = it != params.end() && inside(r, it->second);
      p[name] = known ? it->second : param_value{r.choices.front()};
      continue;
    }
    double x = r.log ? std::sqrt(r.low * r.high) : 0.5 * (r.low + r.high);
    if (it != params.end()) {
      if (const auto* i = std::get_if<std::int64_t>(&it->second))
        x = static_cast<double>(*i);
      else if (const auto* d = std::get_if<double>(&it->second); d && !std::isnan(*d))
        x = *d;
    }
    if (r.type == param_range::kind::integer)
      p[name] = static_cast<std::int64_t>(std::clamp(std::round(x), std::ceil(r.low), std::floor(r.high)));
    else
      p[name] = std::clamp(x, r.low, r.high);
  }
  return p;
}

param_value draw_value(const param_range& r, random_source& random) {
  if (r.type == param_range::kind::choice)
    return r.choices[static_cast<std::size_t>(random.below(r.choices.size()))];
  // An integer owns the half-open cell around it, so that the ends are as likely as the middle.
  const bool whole = r.type == param_range::kind::integer;
  const double low = whole ? std::ceil(r.low) : r.low;
  const double high = whole ? std::floor(r.high) : r.high;
  const double from = whole ? low - 0.5 : low;
  const double to = whole ? high + 0.5 : high;
  const double x = r.log ? std::exp(random.uniform(std::log(from), std::log(to))) : random.uniform(from, to);
  const double bounded = std::clamp(whole ? std::round(x) : x, low, high);
  if (whole)
    return static_cast<std::int64_t>(bounded);
  return bounded;
}

param_set draw_point(const search_space& space, random_source& random) {
  param_set p;
  for (const auto& [name, range] : space)
    p.emplace(name, draw_value(range, random));
  return p;
}

std::set<param_set> tried_points(const search_space& space, const sampler_history& history) {
  std::set<param_set> seen;
  for (const auto& t : history.trials) {
    param_set p;
    for (const auto& [name, value] : t.params)
      if (space.contains(name))
        p.emplace(name, value);
    seen.insert(std::move(p));
  }
  return seen;
}

std::optional<param_set> draw_unseen(const search_space& space, const std::set<param_set>& seen, random_source& random) {
  for (int attempt = 0; attempt < 64; ++attempt)
    if (auto p = draw_point(space, random); !seen.contains(p))
      return p;
  // 64 misses: the space is finite and nearly full, so walk it from a random place.
  // (Size 0: a real range of a few neighbouring doubles, which nobody can walk; as good as full.)
  const auto size = cardinality(space);
  if (size == 0)
    return std::nullopt;
  const auto start = random.below(size);
  for (std::uint64_t i = 0; i < size; ++i)
    if (auto p = point_at(space, (start + i) % size); !seen.contains(p))
      return p;
  return std::nullopt;
}

suggestion exhausted(const search_space& space) {
  suggestion s;
  s.exhausted = true;
  const auto size = cardinality(space);
  s.reason = "every configuration of the space has been tried" +
             (size > 0 ? " (there are " + std::to_string(size) + ")" : std::string{});
  return s;
}

std::unique_ptr<sampler> make_random_sampler() { return std::make_unique<random_sampler>(); }

result<std::unique_ptr<sampler>> make_sampler(std::string_view name) {
  if (name == "random")
    return make_random_sampler();
  if (name == "tpe")
    return make_tpe_sampler();
  constexpr std::array<std::string_view, 2> known{"random", "tpe"};
  const auto near = nearest(name, known);
  return error{errc::not_found, "there is no sampler \"" + printable(name) + "\"", {},
               near.empty() ? "use \"tpe\" or \"random\"" : "did you mean \"" + std::string(near) + "\"?"};
}

} // namespace flywheel
