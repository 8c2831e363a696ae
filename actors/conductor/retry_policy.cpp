#include "actors/conductor/retry_policy.hpp"

#include "cluster/base/random.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

std::string_view name_of(retry_action a) noexcept {
  switch (a) {
  case retry_action::retry: return "retry";
  case retry_action::fail: return "fail";
  case retry_action::ask_person: return "ask_person";
  }
  return "?";
}

std::string_view name_of(breaker_state s) noexcept {
  switch (s) {
  case breaker_state::closed: return "closed";
  case breaker_state::open: return "open";
  case breaker_state::half_open: return "half_open";
  }
  return "?";
}

nanoseconds retry_policy::backoff(const std::string& key, std::uint32_t attempt, double factor) const {
  const double doublings = std::min<double>(attempt > 0 ? attempt - 1 : 0, 60);
  const double full = std::min(static_cast<double>(options_.wait_first.count()) * factor * std::pow(2.0, doublings),
                               static_cast<double>(options_.wait_max.count()));
  auto random = random_source::derive(options_.seed, key + "#" + std::to_string(attempt));
  return nanoseconds{static_cast<std::int64_t>(full * (1 - options_.jitter * random.uniform()))};
}

nanoseconds retry_policy::count_failure(const std::string& agent, wall_time now) {
  auto& b = breakers_[agent];
  ++b.failures;
  if (!b.opened && b.failures >= options_.failures_to_open) {
    b.opened = true;
    b.open_for = options_.open_first;
    b.open_until = now + b.open_for;
  } else if (b.opened && now >= b.open_until) {
    // The probe failed.
    b.open_for = std::min(b.open_for * 2, options_.open_max);
    b.open_until = now + b.open_for;
  }
  b.probing = false;
  return b.opened ? b.open_until - now : nanoseconds{0};
}

void retry_policy::succeeded(const std::string& agent) { breakers_.erase(agent); }

breaker_state retry_policy::breaker_of(const std::string& agent, wall_time now) const {
  const auto at = breakers_.find(agent);
  if (at == breakers_.end() || !at->second.opened)
    return breaker_state::closed;
  return now < at->second.open_until ? breaker_state::open : breaker_state::half_open;
}

nanoseconds retry_policy::hold(const std::string& agent, wall_time now) {
  switch (breaker_of(agent, now)) {
  case breaker_state::closed: return nanoseconds{0};
  case breaker_state::open: return breakers_[agent].open_until - now;
  case breaker_state::half_open: break;
  }
  auto& b = breakers_[agent];
  if (b.probing && now < b.probe_until)
    return b.probe_until - now;
  b.probing = true;
  b.probe_until = now + options_.open_first;
  return nanoseconds{0};
}

retry_verdict retry_policy::judge(const std::string& agent, const std::string& key, const error& e, std::uint32_t attempt,
                                  wall_time now) {
  const auto fail = [](std::string reason) { return retry_verdict{retry_action::fail, {}, std::move(reason)}; };
  const auto ask = [](std::string reason) { return retry_verdict{retry_action::ask_person, {}, std::move(reason)}; };
  const std::string cause = std::string(sentence_of(e.code)) + " (" + std::string(name_of(e.code)) + ")";

  const auto again = [&](std::uint32_t attempts_max, double factor, retry_action at_the_end) {
    const auto left_alone = count_failure(agent, now);
    if (attempt >= attempts_max) {
      const std::string tried = cause + ", and attempt " + std::to_string(attempt) + " of " + std::to_string(attempts_max) +
                                " was the last one allowed";
      return at_the_end == retry_action::fail ? fail(tried) : ask(tried + "; a person must look at it");
    }
    retry_verdict v{retry_action::retry, backoff(key, attempt, factor), {}};
    v.reason = cause + ", which may pass: attempt " + std::to_string(attempt + 1) + " of " + std::to_string(attempts_max) +
               " follows in ";
    if (left_alone > v.after) {
      v.after = left_alone;
      v.reason += format_duration(v.after) + ", because " + agent + " failed " + std::to_string(breakers_[agent].failures) +
                  " times in a row and is left alone until then";
    } else {
      v.reason += format_duration(v.after);
    }
    return v;
  };

  switch (e.klass()) {
  case error_class::transient: return again(options_.attempts_transient, 1, retry_action::fail);
  case error_class::unreachable: return again(options_.attempts_unreachable, 1, retry_action::fail);
  case error_class::resource:
    return again(options_.attempts_resource, options_.resource_wait_factor, retry_action::ask_person);
  case error_class::internal: return again(options_.attempts_internal, 1, retry_action::fail);
  case error_class::waiting: return ask(cause + "; it goes on when that has happened");
  case error_class::denied: return ask(cause + "; trying again would be refused again, so a person must decide");
  case error_class::damaged:
    return ask(cause + "; damaged bytes are never used or tried again blindly, so a person must look at them");
  case error_class::failed:
    if (e.code == errc::gate_inconclusive)
      return ask(cause + "; more data or a person's word can decide, another attempt cannot");
    return fail(cause + "; it ran to its end, and running it again would do the same");
  case error_class::bad_input: return fail(cause + "; the same input would be refused again");
  case error_class::not_found: return fail(cause + "; it would not be found the next time either");
  case error_class::conflict: return fail(cause + "; the other one was first, and its word stands");
  case error_class::cancelled: return fail(cause + "; it was meant to stop");
  case error_class::none: break;
  }
  return fail("it was reported as failed without a cause");
}

} // namespace flywheel
