#pragma once
// The words between the hands that start and kill ranks on a node and the head that decides over a gang. Values only: they can be
// sent between nodes.

#include "cluster/gang/rank_board_format.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace flywheel {

inline constexpr int gang_ranks_max = 256;

/// Where a rank runs. `slot` is for people: "cpu 0", "gpu 3".
struct rank_seat {
  std::string host, slot;
  int local = 0; ///< its number on that host
};

/// Command: start one rank. Everything a process needs; nothing is taken over from the launcher.
struct rank_command {
  int rank = 0;
  std::uint64_t attempt = 1;
  std::vector<std::string> arguments;   ///< [0] is the program, looked up in PATH if it has no '/'
  std::vector<std::string> environment; ///< NAME=VALUE, all of it; the board's variable is added
  std::string folder;                   ///< to start in; empty: the launcher's
  std::uint64_t memory_max = 0;         ///< bytes of private memory (RLIMIT_DATA); 0: unlimited
};

/// How a rank's process ended, with what is known about why.
struct rank_exit {
  int signal = 0;                ///< that killed it, or 0
  int code = 0;                  ///< exit code if signal is 0
  bool kernel_oom = false;       ///< the kernel's out-of-memory killer took something while it ended
  std::uint64_t peak_bytes = 0;  ///< its largest resident size
  std::uint64_t memory_max = 0;  ///< its limit, or 0
  std::string last_output{};     ///< its last lines, printable
};

struct rank_started { int pid = 0; };
/// The program could not be started at all.
struct rank_refused { error why; };
/// A look at a living rank. Times are ages, so that the head needs no common clock.
struct rank_seen {
  rank_report report;                   ///< its times belong to the node's clock; use the ages
  nanoseconds entered_ago{}, finished_ago{};
  bool is_stopped = false;              ///< the kernel says that the process is stopped (SIGSTOP, a debugger)
};
/// Its board holds what cannot be; told once an attempt.
struct rank_garbled { error why; };
struct rank_ended { rank_exit how; };

struct rank_observation {
  int rank = 0;
  std::uint64_t attempt = 0;
  std::variant<rank_started, rank_refused, rank_seen, rank_garbled, rank_ended> what;
};
/// No process of the attempt is left on that host, grandchildren included.
struct host_cleared { std::string host; std::uint64_t attempt = 0; };
/// The host cannot be asked any more; its ranks are lost.
struct host_lost { std::string host; std::string why; };

using gang_observation = std::variant<rank_observation, host_cleared, host_lost>;

enum class gang_end : std::uint8_t {
  succeeded,      ///< all ranks ended with 0
  killed,         ///< a signal that nobody here sent
  exit_code,      ///< a rank's own error
  out_of_memory,
  hung,           ///< no step within the time
  frozen,         ///< stopped by a signal or a debugger
  never_came_up,  ///< no first step within the time
  not_startable,  ///< the program could not be started
  peers_only,     ///< ranks complain about each other, and none has a cause of its own
  host_lost,
  cancelled,
};
std::string_view name_of(gang_end e) noexcept;

/// The one cause of an attempt's end.
struct gang_cause {
  gang_end end = gang_end::succeeded;
  int rank = -1;                        ///< -1: no single one
  std::string host, slot;
  int signal = 0, code = 0;
  bool has_stepped = false;             ///< whether `step` means something
  std::uint64_t step = 0;               ///< the last step it was seen in
  bool reports = false;                 ///< whether any rank told anything of itself
  nanoseconds lived{};                  ///< from the start to the notice
  std::uint64_t steps = 0;              ///< the most that any rank finished in this attempt
  std::uint64_t collective = 0;         ///< the last one it was seen in; 0: none
  std::string collective_name;
  std::string detail;                   ///< measured times, last output, what peers said
};
/// One sentence: who, where, what, when. E.g. "rank 1 (node1, gpu 1) was killed by signal 9 (KILL) in step 120 (collective 361,
/// all_reduce)".
std::string sentence_of(const gang_cause& c);

/// "9 (KILL)".
std::string signal_name(int number);

} // namespace flywheel
