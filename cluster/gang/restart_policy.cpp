#include "cluster/gang/restart_policy.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <csignal>

namespace flywheel {
namespace {

constexpr int bad_input = 2; ///< the exit code by which programs say that their input or arguments are wrong

/// Failures that the program makes by itself; the others come from outside and may not come again.
bool is_own(const gang_cause& c) {
  switch (c.end) {
  case gang_end::exit_code:
  case gang_end::out_of_memory:
  case gang_end::never_came_up: return true;
  case gang_end::killed: return c.signal != SIGKILL && c.signal != SIGTERM && c.signal != SIGINT && c.signal != SIGHUP;
  default: return false;
  }
}

bool is_same(const gang_cause& a, const gang_cause& b) {
  return a.end == b.end && a.signal == b.signal && a.code == b.code && a.has_stepped == b.has_stepped && a.step == b.step;
}

std::string place_of(const gang_cause& c) { return c.has_stepped ? "at step " + std::to_string(c.step) : "before the first step"; }

std::string times(std::uint32_t n) { return n == 2 ? "twice" : std::to_string(n) + " times"; }

} // namespace

restart_verdict restart_policy::decide(const gang_cause& cause) {
  repeats_ = !last_.empty() && is_same(last_.front(), cause) ? repeats_ + 1 : 1;
  last_ = {cause};
  const bool got_somewhere = cause.steps > 0 || (!cause.reports && cause.lived >= options_.long_life);
  fruitless_ = got_somewhere ? 0 : fruitless_ + 1;
  if (cause.end == gang_end::succeeded)
    return {false, {}, "it succeeded"};
  if (cause.end == gang_end::cancelled)
    return {false, {}, "it was stopped on purpose"};
  if (cause.end == gang_end::not_startable)
    return {false, {}, "the program cannot be started; a restart would meet the same"};
  const bool says_bad_input = cause.end == gang_end::exit_code && cause.code == bad_input;
  const auto final_after = says_bad_input ? std::min<std::uint32_t>(2, options_.repeats_max) : options_.repeats_max;
  if (is_own(cause) && repeats_ >= final_after)
    return {false, {}, "the same failure came " + times(repeats_) + " " + place_of(cause) + "; a restart would meet it again"};
  if (restarts_ >= options_.restarts_max)
    return {false, {}, options_.restarts_max == 0 ? "no restarts are allowed" : "all " + std::to_string(options_.restarts_max) + " restarts are used up"};
  ++restarts_;
  restart_verdict v{true, {}, "restart " + std::to_string(restarts_) + " of " + std::to_string(options_.restarts_max)};
  if (fruitless_ > 1) {
    // Doubling by hand: a shift by a large count would be undefined.
    v.after = options_.backoff_first;
    for (std::uint32_t i = 2; i < fruitless_ && v.after < options_.backoff_max; ++i)
      v.after *= 2;
    v.after = std::min(v.after, options_.backoff_max);
    v.reason += ", after " + format_duration(v.after) + (cause.reports ? ": again it failed before its first step" : ": again it ended soon, and it does not tell its steps");
  }
  return v;
}

} // namespace flywheel
