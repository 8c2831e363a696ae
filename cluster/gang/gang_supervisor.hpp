#pragma once
// A gang on this node from start to end, through its restarts: launcher (hands), gang_policy and restart_policy (decisions), put
// together in one loop. Where several nodes take part, a head does the same with a launcher on each.

#include "cluster/gang/gang_policy.hpp"
#include "cluster/gang/rank_launcher.hpp"
#include "cluster/gang/restart_policy.hpp"

namespace flywheel {

/// What happened, for whoever shows or records it. Times are the monotonic clock's.
struct gang_event {
  enum class kind : std::uint8_t {
    attempt_started, ///< the ranks are being started
    rank_started,    ///< pid
    first_step,      ///< every rank has finished its first step of this attempt, as a look at the boards shows
    straggler,       ///< `text` names who is slow, or that nobody is any more
    garbled,         ///< a rank's board holds nonsense; `text`
    noticed,         ///< the attempt has failed; the ranks are being killed
    cleared,         ///< no process of the attempt is left: its slots are free; `cause` is final
    restarting,      ///< `cause` ended the attempt before; `text` says what follows, `delay` when
    ended,           ///< all is over; `cause` says how
  } what;
  mono_time at;
  std::uint64_t attempt = 0;
  int rank = -1, pid = 0;
  std::string text;
  nanoseconds delay{};
  gang_cause cause;
};
std::string_view name_of(gang_event::kind k) noexcept;

struct gang_plan {
  std::vector<rank_seat> seats;
  std::uint64_t first_attempt = 1;  ///< restarts count up from here
  gang_options watch;
  restart_options restart;
  rank_launcher_options launcher;
  nanoseconds stop_grace{10'000'000'000}; ///< between SIGTERM and SIGKILL when asked to stop
  nanoseconds clear_max{30'000'000'000};  ///< a process that survives SIGKILL for so long (in a driver) ends the supervision
  /// Makes the command of a rank; called for each rank of each attempt, after `prepare`.
  std::function<result<rank_command>(int rank, std::uint64_t attempt, std::uint32_t restart)> command;
  /// Before the ranks of an attempt start and after the old ones are gone: raises fences, makes folders. May be empty.
  std::function<status(std::uint64_t attempt)> prepare;
  std::function<void(const gang_event&)> tell;
  rank_output output;
  int stop_fd = -1;                 ///< readable: stop cleanly. -1: none
};

struct gang_result {
  gang_cause cause;                 ///< of the last attempt
  std::uint64_t attempt = 0;
  std::uint32_t restarts = 0;
  std::uint64_t steps = 0;          ///< finished by all in the last attempt
  std::optional<double> loss;       ///< the last that rank 0 told
  std::string why_final;            ///< why it was not restarted; empty if it succeeded
};

/// Runs the gang until it is over. Errors are those of the machinery (no keeper, prepare() failed, processes that do not die);
/// what happens to ranks is in the result. Blocks the calling thread, which must stay: the keeper is tied to it.
result<gang_result> supervise_gang(const gang_plan& plan, const time_source& time);

} // namespace flywheel
