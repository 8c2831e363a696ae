#pragma once
// What to do about a step that failed: try again later, give up, or ask a person. Pure: it is told the error and the time,
// and answers with a verdict and its reason. One circuit breaker per agent keeps a broken agent from being hammered by
// every goal in turn (closed -> open after failures in a row -> half-open: one probe -> closed or open for longer).

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace flywheel {

enum class retry_action : std::uint8_t { retry, fail, ask_person };
std::string_view name_of(retry_action a) noexcept;

struct retry_verdict {
  retry_action action = retry_action::fail;
  nanoseconds after{};   ///< retry only: not before so long from now
  std::string reason;    ///< one sentence
};

struct retry_options {
  nanoseconds wait_first{1'000'000'000};       ///< before the second attempt; doubles with each one
  nanoseconds wait_max{120'000'000'000};       ///< a longer wait looks like a hang to the person watching
  double jitter = 0.5;                         ///< up to this part of a wait is taken off, so that retries do not march in step
  std::uint32_t attempts_transient = 5;
  std::uint32_t attempts_unreachable = 8;      ///< machines take minutes to come back
  std::uint32_t attempts_resource = 4;
  std::uint32_t attempts_internal = 2;         ///< a restarted agent may do; a bug met twice is a bug
  double resource_wait_factor = 10;            ///< memory and slots come back more slowly than connections
  std::uint32_t failures_to_open = 5;          ///< in a row, of one agent, over all goals
  nanoseconds open_first{30'000'000'000};      ///< doubles each time a probe fails
  nanoseconds open_max{600'000'000'000};
  std::uint64_t seed = 1;                      ///< of the jitter; the same seed gives the same waits (I13)
};

enum class breaker_state : std::uint8_t { closed, open, half_open };
std::string_view name_of(breaker_state s) noexcept;

class retry_policy {
public:
  explicit retry_policy(retry_options options = {}) : options_(options) {}

  /// After attempt number `attempt` (1, 2, ...) of `key` (goal/step) at `agent` failed with `e`.
  retry_verdict judge(const std::string& agent, const std::string& key, const error& e, std::uint32_t attempt, wall_time now);
  /// The agent answered well: its breaker closes.
  void succeeded(const std::string& agent);
  /// How long to wait before asking `agent` at all; 0: now. In the half-open state the first to ask is the probe, and
  /// everybody else waits until its outcome is judged (or for another `open_first`, should it never be).
  nanoseconds hold(const std::string& agent, wall_time now);
  breaker_state breaker_of(const std::string& agent, wall_time now) const;

private:
  struct breaker {
    std::uint32_t failures = 0;    ///< in a row
    bool opened = false;
    wall_time open_until;
    nanoseconds open_for{};
    wall_time probe_until;         ///< a probe is under way until then at the latest
    bool probing = false;
  };
  /// Counts the failure; how long the agent is to be left alone from now.
  nanoseconds count_failure(const std::string& agent, wall_time now);
  nanoseconds backoff(const std::string& key, std::uint32_t attempt, double factor) const;

  retry_options options_;
  std::map<std::string, breaker> breakers_;
};

} // namespace flywheel
