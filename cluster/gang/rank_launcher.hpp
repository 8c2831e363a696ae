#pragma once
// Starts, watches and kills the ranks of one gang on this node. Commands go in, observations come out; it decides nothing, so
// that a head elsewhere can.
//
//   launcher --socket--> keeper (rank_keeper.hpp) --fork--> ranks, each in a process group of its own --> grandchildren
//
// The keeper is the subreaper of everything below it: when the launcher dies, also by SIGKILL, the keeper sees the socket close and
// kills all of it; when the keeper dies, the kernel kills the ranks. The keeper says "cleared" only when it has no child left, so
// a slot that is called free is free.
//
// One thread; the keeper lives as long as this object. Exits arrive as events; a timer looks at the boards.

#include "cluster/gang/gang_types.hpp"
#include "cluster/gang/rank_board.hpp"

#include <functional>
#include <map>
#include <memory>

namespace flywheel {

struct rank_launcher_options {
  std::string host;                        ///< its name in observations
  std::vector<std::string> keeper_command; ///< argv of a program that calls keep_ranks(), e.g. {"/proc/self/exe", "_keep"}
  std::string scratch;                     ///< a folder that the keeper removes at its end, whoever dies first; empty: none
  int ranks = 1;                           ///< of the whole gang
  nanoseconds look_every{25'000'000};      ///< at boards
  int lease_fd = -1;                       ///< of a lease_page: when it is over the keeper ends everything, also if the launcher is frozen
};

/// Complete lines of a rank's output, without their end; a very long one in pieces. `is_error`: standard error.
using rank_output = std::function<void(int rank, bool is_error, std::string_view line)>;

class rank_launcher {
public:
  static result<std::unique_ptr<rank_launcher>> start(rank_launcher_options options, rank_output output);
  /// Everything it started is dead and reaped when this returns; what a driver holds after 30 s is left to the keeper.
  ~rank_launcher();
  rank_launcher(const rank_launcher&) = delete;
  rank_launcher& operator=(const rank_launcher&) = delete;

  /// The answer comes as rank_started or rank_refused; an error here only for what cannot even be asked. A rank is started once an
  /// attempt, and a new attempt only after host_cleared.
  status start_rank(const rank_command& command);
  /// SIGKILL to all ranks and everything they started. host_cleared follows when none is left.
  void kill_all();
  /// Sends a signal to the ranks (their process groups), e.g. SIGTERM.
  void signal_all(int number);

  /// Readable when wait() would return something; for a caller's own poll loop.
  int fd() const noexcept { return events_.get(); }
  /// What has been seen, after at most `at_most`; empty if nothing has.
  std::vector<gang_observation> wait(nanoseconds at_most);
  /// The keeper's process; for tests that kill it.
  int keeper_pid() const noexcept { return keeper_pid_; }

private:
  struct stream {
    owned_fd pipe;
    std::string partial;
    bool is_error = false;
  };
  struct child {
    explicit child(rank_board b) : board(std::move(b)) {}
    rank_board board;
    stream output[2];
    std::vector<std::string> last_lines; ///< newest last
    std::uint64_t attempt = 0, memory_max = 0;
    std::optional<std::uint64_t> changes_seen;
    int pid = 0;
    unsigned looks = 0;                  ///< at a board whose number had not changed
    bool is_alive = false, was_garbled = false, was_stopped = false, has_reported = false;
  };
  rank_launcher() = default;
  status begin();
  void read_keeper(std::vector<gang_observation>& seen);
  void read_stream(int rank, child& c, stream& s, bool to_the_end);
  void take_line(int rank, child& c, const stream& s, std::string_view line);
  void look(std::vector<gang_observation>& seen);
  std::optional<rank_observation> look_at(int rank, child& c, mono_time now);
  void set_timer(bool on);
  void lose_keeper(std::vector<gang_observation>& seen);

  rank_launcher_options options_;
  rank_output output_;
  owned_fd events_, keeper_, keeper_exit_, timer_;
  int keeper_pid_ = 0;
  bool keeper_lost_ = false, timer_on_ = false;
  std::uint64_t attempt_ = 0;
  std::map<int, child> children_;
};

} // namespace flywheel
