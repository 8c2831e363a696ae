#pragma once
// One attempt of a gang, judged: a table of ranks, told what is seen of them on any number of hosts and the time; it says when
// all must be killed and what the one cause is. It touches nothing.
//
// When a rank dies, its peers fail too, a moment later, and may even be noticed first. A rank is the cause if it
//   1. was refused, killed by a signal nobody here sent, ran out of memory, hung, or froze; or
//   2. ended with an error that it calls its own, or says nothing about;
//   3. ended with an error that it, or its last output, says came from a peer: only if no other comes in `settle`.
// Of those the first one seen is named, of those seen together the one of the smaller number above.

#include "cluster/gang/gang_types.hpp"
#include "cluster/gang/watchdog_policy.hpp"

#include <optional>

namespace flywheel {

struct gang_options {
  watchdog_options watch;
  nanoseconds start_max{300'000'000'000}; ///< to the first step, once some rank reports; 0: for ever
  bool start_is_strict = false;           ///< also where no rank ever reports: a program that cannot would be killed
  bool watches_hangs = true;
  nanoseconds settle{150'000'000};        ///< a peer's complaint may come before the death it complains about
};

enum class gang_state : std::uint8_t {
  running,
  settling,  ///< a rank complained about a peer; waiting whether that peer's own end is seen
  clearing,  ///< all must be killed; waiting until every host is cleared
  over,
};

class gang_policy {
public:
  /// `seats` by rank. The gang starts now.
  gang_policy(std::vector<rank_seat> seats, std::uint64_t attempt, mono_time now, gang_options options = {});

  /// Anything about another attempt is ignored.
  void observe(const gang_observation& seen, mono_time now);
  /// A person or a program wants it ended.
  void cancel(std::string why, mono_time now);
  /// The one who looks was stopped itself for a while: nobody is blamed for the time before now.
  void forgive(mono_time now);
  /// Acts on the time alone. Call after every observation, and at next_look().
  void judge(mono_time now);

  gang_state state() const noexcept { return state_; }
  /// When judge() may say something new without an observation; nothing: never.
  std::optional<mono_time> next_look(mono_time now) const;
  /// From `clearing` on; its details may still grow until `over` (the last output comes with the end of the process).
  const gang_cause& cause() const noexcept { return cause_; }
  /// When the cause was noticed, and when the last host was cleared.
  std::optional<mono_time> noticed() const noexcept { return noticed_; }
  std::optional<mono_time> cleared() const noexcept { return cleared_; }

  /// Whether no rank's process is left, as far as has been told; grandchildren may be.
  bool all_ended() const noexcept;
  /// Who is slow now; a warning, never a reason to kill.
  gang_verdict straggler() const;
  /// Steps that all ranks have finished in this attempt: 0 until the first.
  std::uint64_t steps_by_all() const noexcept;
  /// The last loss of rank 0, if it told one.
  std::optional<double> loss() const;
  const std::vector<rank_seat>& seats() const noexcept { return seats_; }

private:
  struct row {
    bool is_gone = false, succeeded = false, has_reported = false;
    rank_report report;
    std::optional<mono_time> stopped_since;
    std::optional<rank_exit> exit;
  };
  void on_rank(const rank_observation& o, mono_time now);
  void on_seen(int rank, const rank_seen& seen, mono_time now);
  void on_ended(int rank, const rank_exit& how, mono_time now);
  void blame(int rank, gang_end end, int weight, std::string detail, mono_time now);
  void complete_cause();
  void begin_clearing(mono_time now);
  void judge_start(mono_time now);
  bool any_reported() const;
  bool all_stepped() const;

  std::vector<rank_seat> seats_;
  std::uint64_t attempt_;
  mono_time started_;
  gang_options options_;
  watchdog_policy watch_;
  std::vector<row> rows_;
  std::vector<std::string> uncleared_; ///< hosts
  gang_state state_ = gang_state::running;
  gang_cause cause_;
  int weight_ = 0;                     ///< of the cause, as in the list above; 0: none
  std::optional<mono_time> noticed_, cleared_, settle_until_;
};

} // namespace flywheel
