#include "actors/hpo/halving_pruner.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

namespace flywheel {
namespace {

std::string short_number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", x);
  return text;
}

} // namespace

std::vector<std::uint32_t> make_rungs(std::uint32_t resource_max, std::uint32_t resource_min, std::uint32_t eta) {
  resource_max = std::max(resource_max, 1u);
  resource_min = std::max(resource_min, 1u);
  std::vector<std::uint32_t> rungs{resource_max};
  if (eta < 2)
    return rungs;
  for (double r = static_cast<double>(resource_max) / eta; std::lround(r) >= static_cast<long>(resource_min); r /= eta)
    if (const auto rung = static_cast<std::uint32_t>(std::lround(r)); rung < rungs.back())
      rungs.push_back(rung);
  std::reverse(rungs.begin(), rungs.end());
  return rungs;
}

halving_verdict judge_halving(const std::vector<double>& earlier, double value, bool maximise, std::uint32_t eta) {
  halving_verdict v;
  if (!std::isfinite(value)) {
    v.go_on = false;
    v.reason = "stopped: the value is not a finite number";
    return v;
  }
  std::vector<double> all;
  for (const double x : earlier)
    if (std::isfinite(x))
      all.push_back(x);
  all.push_back(value);
  if (maximise)
    std::sort(all.begin(), all.end(), std::greater<>{});
  else
    std::sort(all.begin(), all.end());

  v.of = all.size();
  v.rank = 1 + static_cast<std::uint64_t>(std::find(all.begin(), all.end(), value) - all.begin());
  if (eta < 2 || v.of < eta) {
    v.kept = v.of;
    v.cutoff = all.back();
    v.reason = "goes on: only " + std::to_string(v.of) + (v.of == 1 ? " trial has" : " trials have") +
               " reached this rung, too few to compare";
    return v;
  }
  v.kept = v.of / eta;
  v.cutoff = all[v.kept - 1];
  v.go_on = v.rank <= v.kept;
  v.reason = std::string(v.go_on ? "goes on" : "stopped") + ": " + short_number(value) + " is rank " +
             std::to_string(v.rank) + " of " + std::to_string(v.of) + " at this rung, and the best " +
             std::to_string(v.kept) + " (1 in " + std::to_string(eta) + ") go on; the cutoff is " +
             short_number(v.cutoff);
  return v;
}

} // namespace flywheel
