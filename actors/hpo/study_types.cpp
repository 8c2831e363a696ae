#include "actors/hpo/study_types.hpp"

#include "cluster/base/ids.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <array>
#include <cmath>

namespace flywheel {
namespace {

constexpr std::array<std::pair<study_end, std::string_view>, 8> end_names{{
    {study_end::running, "running"},
    {study_end::trials, "trials"},
    {study_end::slot_time, "slot_time"},
    {study_end::wall_time, "wall_time"},
    {study_end::patience, "patience"},
    {study_end::good_enough, "good_enough"},
    {study_end::exhausted, "exhausted"},
    {study_end::failing, "failing"},
}};

status bad(std::string what) { return error{errc::invalid_argument, "a study's configuration: " + std::move(what)}; }

status check_rungs(const study_config& c) {
  if (c.resource_max == 0)
    return bad("resource_max is 0");
  for (std::size_t i = 1; i < c.rungs.size(); ++i)
    if (c.rungs[i] <= c.rungs[i - 1])
      return bad("rungs must rise, and " + std::to_string(c.rungs[i]) + " follows " + std::to_string(c.rungs[i - 1]));
  if (!c.rungs.empty() && (c.rungs.front() == 0 || c.rungs.back() != c.resource_max))
    return bad("rungs must begin above 0 and end at resource_max (" + std::to_string(c.resource_max) + ")");
  return success();
}

} // namespace

std::string_view name_of(study_end e) noexcept {
  for (const auto& [end, name] : end_names)
    if (end == e)
      return name;
  return "";
}

std::optional<study_end> study_end_from_name(std::string_view name) noexcept {
  for (const auto& [end, text] : end_names)
    if (text == name)
      return end;
  return std::nullopt;
}

status check_config(const study_config& c) {
  if (!is_valid_name(c.study + "-100000"))
    return bad("\"" + printable(c.study) + "\" does not make a name for trials");
  if (c.family.empty())
    return bad("the family is empty");
  FLYWHEEL_CHECK(check_space(c.space));
  for (const auto& p : c.planned)
    if (!inside(c.space, p.params))
      return bad("a planned trial lies outside the search space");
  if (auto s = make_sampler(c.sampler); !s)
    return std::move(s).error();
  if (c.pruner != "halving" && c.pruner != "none")
    return error{errc::not_found, "there is no pruner \"" + printable(c.pruner) + "\"", {}, "use \"halving\" or \"none\""};
  FLYWHEEL_CHECK(check_rungs(c));
  if (c.parallel == 0 || c.slots_per_trial == 0 || c.attempts_max == 0 || c.folds == 0)
    return bad("parallel, slots_per_trial, attempts_max and folds must be at least 1");
  if (c.budget.trials > limits::trials_max)
    return error{errc::too_large, "a study of " + std::to_string(c.budget.trials) + " trials; the most is " +
                                      std::to_string(limits::trials_max)};
  if (!(c.budget.slot_seconds >= 0) || c.trial_time_max <= nanoseconds{0} || c.kill_grace < nanoseconds{0})
    return bad("times must not be negative");
  if (!(c.stop.confidence > 0 && c.stop.confidence < 1))
    return bad("confidence must lie between 0 and 1");
  return success();
}

} // namespace flywheel
