#pragma once
// When a challenger gets more traffic, and when it is taken back. A machine that is told what was observed and what time
// it is, and answers with a verdict and its reason; it changes nothing in the world. Rules in words: docs/rollout.md.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace flywheel {

enum class rollout_action : std::uint8_t {
  hold,     ///< not enough evidence yet, or nothing left to decide
  advance,  ///< to `percent`, the next step
  rollback, ///< the champion takes everything again (with no champion: the challenger is withdrawn)
  complete, ///< the challenger becomes champion
};
std::string_view name_of(rollout_action a) noexcept;

struct rollout_verdict {
  rollout_action action = rollout_action::hold;
  double percent = 0;                    ///< the challenger's share of the traffic after the action
  std::string reason;                    ///< one sentence with the numbers that decided
  std::map<std::string, double> numbers; ///< every number that was looked at, for the journal
};

/// Requests counted against limits, and their latency for people.
struct traffic_evidence {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0; ///< answered with a status of 500 or above
  std::uint64_t slow = 0;   ///< slower than the limit; the p99 is above it exactly if more than 1 % are
  /// Bucket i holds latencies up to 0.01 ms * 1.25^i; the last one everything above.
  std::array<std::uint64_t, 80> latency{};

  /// Upper bound of the bucket in which the quantile lies, in ms; 0 without requests.
  double quantile_ms(double q) const noexcept;
};

/// Mean and spread of per-row scores, by Welford's recurrence.
struct quality_evidence {
  std::uint64_t labels = 0;
  double mean = 0;
  double squares = 0; ///< sum of squared deviations from the mean
  void add(double score) noexcept;
  double standard_error() const noexcept; ///< of the mean; 0 with fewer than two labels
};

class rollout_policy {
public:
  /// Labels (rows both models answered, or labels per side) before quality is judged at all.
  static constexpr std::uint64_t labels_min = 30;

  /// Begins at the first step. invalid_argument if `spec.steps` does not increase within (0, 100] to 100.
  static result<rollout_policy> begin(const rollout_spec& spec, bool has_champion, mono_time now);

  /// A request answered during this rollout, by either model.
  void observe(bool challenger, int http_status, double latency_ms) noexcept;
  /// A label that arrived for an answer given during this rollout. `score`: how good that answer was, higher is better:
  /// 1 or 0 for right or wrong; minus the loss for regression. Kept over all steps, since labels come late.
  void label(bool challenger, double score) noexcept;
  /// The same row, answered by both: one served, the other asked afterwards. Judged instead of the separate scores as soon
  /// as there are labels_min of them, because what two models do on the same rows varies far less than on different ones.
  void compare(double champion_score, double challenger_score) noexcept;

  /// What to do now. Does not change the state; ask as often as you like.
  rollout_verdict judge(mono_time now) const;
  /// Enters the state that `verdict` (from judge) leads to: the next step with fresh traffic evidence, or the end.
  void apply(const rollout_verdict& verdict, mono_time now);

  /// Share of the traffic for the challenger in the present state.
  double challenger_percent() const noexcept;
  std::size_t step() const noexcept { return step_; } ///< index into spec.steps
  bool finished() const noexcept { return ended_ != rollout_action::hold; }
  /// rollback or complete once finished, hold before.
  rollout_action outcome() const noexcept { return ended_; }

  /// Everything that is needed to go on after a kill, except the spec. The time that passes while nobody runs does not
  /// count as evidence.
  nlohmann::json to_json(mono_time now) const;
  static result<rollout_policy> from_json(const nlohmann::json& state, const rollout_spec& spec, mono_time now);

private:
  rollout_policy() = default;
  struct quality_gap {
    double drop = 0, error = 0; ///< champion - challenger, and its standard error
    std::string told;           ///< both means and their labels
  };
  /// Nothing while there are too few labels.
  std::optional<quality_gap> gap() const;
  std::map<std::string, double> numbers(mono_time now) const;
  nanoseconds in_step(mono_time now) const noexcept;

  rollout_spec spec_;
  bool has_champion_ = true;
  std::size_t step_ = 0;
  rollout_action ended_ = rollout_action::hold;
  mono_time since_;               ///< of this life of the process, or of the step if that began later
  nanoseconds before_{0};         ///< time in this step in earlier lives
  traffic_evidence challenger_;   ///< of this step
  std::uint64_t champion_requests_ = 0, champion_errors_ = 0; ///< of this step; reported beside
  quality_evidence champion_quality_, challenger_quality_;    ///< of the whole rollout
  quality_evidence paired_drop_; ///< champion's score - challenger's on the same row; of the whole rollout
};

} // namespace flywheel
