#pragma once
// The process between a launcher and its ranks: starts what it is told to, reaps, and outlives its launcher just long enough to
// leave nothing behind. It decides nothing. The messages are private to one build of the program: both ends are the same one.

#include "cluster/gang/gang_types.hpp"

#include <array>

namespace flywheel {

/// From the launcher; one SEQPACKET each.
struct keeper_order {
  enum kind_t : std::int32_t { start, kill_all, signal_all } kind = start;
  std::int32_t rank = 0, signal = 0, reserved = 0;
  std::uint64_t attempt = 0, memory_max = 0;
  // With `start`: the descriptors {plan (memfd, see encode_plan), board, standard output, standard error}.
};
inline constexpr std::size_t keeper_order_descriptors = 4;

/// To the launcher.
struct keeper_news {
  enum kind_t : std::int32_t { ready, started, refused, ended, cleared } kind = ready;
  std::int32_t rank = 0, pid = 0;
  std::int32_t number = 0;       ///< refused: errno; ended: the wait status
  std::int32_t where = 0;        ///< refused: at what (refusal_names)
  std::int32_t kernel_oom = 0;
  std::uint64_t attempt = 0, peak_bytes = 0;
};
/// What a refusal was about, by keeper_news::where.
inline constexpr std::array refusal_names{"reading the order to start", "making a process for", "giving a process group to", "tying to its keeper",
                                          "redirecting the output of", "entering the folder of", "starting the program of"};

/// What execve needs, in one piece: program, folder, arguments, environment, zero-terminated. invalid_argument if one of them
/// holds a zero byte or the whole is above 2 MiB.
result<std::string> encode_plan(const std::string& program, const rank_command& command);
struct rank_plan {
  std::string program, folder;
  std::vector<std::string> arguments, environment;
};
std::optional<rank_plan> decode_plan(std::string_view text);

/// The board's descriptor in every rank.
inline constexpr int rank_board_descriptor = 3;

/// The lease page's descriptor in the keeper, if there is one (lease_page_variable says so). Ranks have their board there.
inline constexpr int keeper_lease_descriptor = 3;

/// Serves the launcher at the other end of `socket` until that closes, or the lease of its node is over; then kills and reaps everything below this process,
/// removes `scratch` (if not empty), and returns the exit code. Takes the process over: signals, subreaper, process group.
int keep_ranks(int socket, const std::string& scratch);

} // namespace flywheel
