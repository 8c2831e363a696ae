#pragma once
// Is a gang healthy? A machine that is told the time and what each rank did; it learns how long a step takes and names who is
// slow, hung or dead. It reads no clock and ends nobody: whoever asks acts on the verdict.
//
// In synchronous training all ranks take as long as the slowest, so the time between steps says nothing about who that is. Ranks
// therefore report twice a step: when they arrive at the collective (own work done) and when the step is finished (collective
// over). The time from finished to arrived is the rank's own; who has not arrived when the others have is whom they wait for.

#include "cluster/base/clock.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

struct watchdog_options {
  nanoseconds first_step_max{300'000'000'000}; ///< until a step time is learnt: loading and warming up take long
  nanoseconds hung_min{10'000'000'000};        ///< nobody is called hung sooner: a page fault or a busy disk is no hang
  double hung_factor = 10;                     ///< x the learnt time
  nanoseconds fixed{};                         ///< replaces the three above from the first finished step on; 0: they hold
  double slow_factor = 1.5;                    ///< x the median of the other ranks
  std::size_t window = 31;                     ///< steps remembered: old speed is forgotten
  std::size_t learnt_after = 5;                ///< steps before anybody is called slow
};

enum class rank_health : std::uint8_t { healthy, slow, hung, dead }; ///< from good to bad
std::string_view name_of(rank_health h) noexcept;

struct gang_verdict {
  rank_health health = rank_health::healthy; ///< the worst of all ranks
  int rank = -1;                             ///< whom that is about; -1: all are well, or all hang in the communication itself
  std::string reason;
};

/// Not thread-safe. Ranks are 0 to ranks-1; steps count up from any start. Reports may come late or twice; those about an older step
/// than known are ignored.
class watchdog_policy {
public:
  watchdog_policy(int ranks, mono_time start, watchdog_options options = {});
  /// The rank has done its own work of `step` and waits for the others.
  void arrived(int rank, std::uint64_t step, mono_time at);
  /// The collectives of `step` are over for the rank.
  void finished(int rank, std::uint64_t step, mono_time at);
  /// The rank's own work of `step` took so long, as it says itself: for reports that come more seldom than steps. Not learnt twice.
  void took(int rank, std::uint64_t step, nanoseconds own);
  /// The rank's process ended before the gang was done; `how`: signal or exit code. The first one to end is the cause.
  void ended(int rank, std::string how);
  /// Something long is expected (a checkpoint, an evaluation): until then nobody is called hung, and the next own time is not learnt.
  void expect_pause(mono_time until);

  gang_verdict judge(mono_time now) const;
  /// The median of the rank's own time per step; 0 before anything is learnt.
  nanoseconds own_time(int rank) const;

private:
  struct seen {
    std::uint64_t step = 0;     ///< being worked on, or waited in
    bool is_waiting = false;    ///< arrived at `step`, not finished
    bool has_started = false;   ///< has finished a step, so that own time can be measured
    bool skip_next = false;
    std::uint64_t learnt_through = 0; ///< steps below it are in `own`, or too old to be
    mono_time since;            ///< when it began to work or to wait
    std::deque<nanoseconds> own;
  };
  const seen& of(int rank) const;
  seen& of(int rank);
  static void learn(seen& r, std::uint64_t step, nanoseconds own, std::size_t window);
  gang_verdict judge_hung(mono_time now) const;
  gang_verdict judge_slow() const;
  nanoseconds patience() const;

  watchdog_options options_;
  std::vector<seen> ranks_;
  int dead_ = -1;
  std::string how_;
  mono_time pause_until_;
};

} // namespace flywheel
