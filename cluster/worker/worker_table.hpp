#pragma once
// The decisions of a worker pool as a machine that is told the time: which task goes to which worker, who must be started,
// stopped or killed, and how each task ended - exactly once. It touches no process and no socket; the pool carries its
// actions out and tells it what happened.

#include "cluster/base/clock.hpp"
#include "cluster/worker/worker_pool.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace flywheel {

using worker_number = std::uint64_t;

/// How a process ended, as the system tells it.
struct worker_exit {
  int signal = 0;             ///< that killed it, or 0
  int code = 0;               ///< exit code if signal is 0
  bool kernel_oom = false;    ///< the kernel's out-of-memory killer was at work meanwhile
  std::string last_output;    ///< its last lines on stdout and stderr
};

struct worker_table_options {
  std::uint32_t slots = 1;
  nanoseconds silent_after{};
  nanoseconds hello_within{};
  nanoseconds stop_grace{};   ///< between `stop` and SIGKILL
  nanoseconds idle_for{};     ///< an idle worker is sent home after so long
  nanoseconds die_within{};   ///< after SIGKILL; a process stuck in a driver must not hold its task's end back for ever
};

class worker_table {
public:
  struct start_worker { worker_number worker; sandbox_rules sandbox; std::uint64_t memory_max; };
  struct send_message { worker_number worker; wire::message message; };
  struct limit_memory { worker_number worker; std::uint64_t bytes; };
  struct kill_worker { worker_number worker; };
  struct tell_started { std::string task; int pid; };
  struct tell_report { worker_number worker; wire::report report; };
  struct tell_log { wire::log log; };
  struct tell_ended { task_end end; };
  using action = std::variant<start_worker, send_message, limit_memory, kill_worker, tell_started, tell_report, tell_log,
                              tell_ended>;

  explicit worker_table(worker_table_options o) : options_(o) {}

  /// A task whose id is still queued or running ends at once with already_exists. Attempts of one line wait for each other (line_of).
  void submit(worker_task t, mono_time now);
  void cancel(const std::string& task, const std::string& reason, mono_time now);
  /// The verdict on a report; ignored if that report is no longer waited for.
  void answer(worker_number worker, const std::string& task, std::uint32_t rung, bool go_on);

  void on_started(worker_number worker, int pid, bool sandboxed, mono_time now);
  void on_start_failed(worker_number worker, error why, mono_time now);
  void on_message(worker_number worker, const wire::message& m, mono_time now);
  /// Bytes that are no message, or a message out of turn: the worker dies.
  void on_garbage(worker_number worker, const error& why, mono_time now);
  void on_memory(worker_number worker, std::uint64_t rss_bytes, mono_time now);
  /// The process has ended, but what it said last may still be on its way: it gets no further task.
  void on_leaving(worker_number worker);
  void on_exit(worker_number worker, const worker_exit& how, mono_time now);
  /// The node itself stood still (stopped, swapped out): nobody is blamed for silence before `now`.
  void on_pause(mono_time now);
  /// True while the worker has a task that has not ended.
  bool has_task(worker_number worker) const;
  /// Acts on every deadline that has passed.
  void tick(mono_time now);
  /// Ends every task with `cancelled`, kills every worker, and takes no more tasks.
  void shut_down(const std::string& reason, mono_time now);

  /// What to do now, in order; empties the list.
  std::vector<action> take_actions();
  std::optional<mono_time> next_deadline() const;
  /// Workers that exist, in whatever state.
  std::size_t workers() const noexcept { return workers_.size(); }
  /// Workers whose memory has a limit and must be looked at.
  std::vector<worker_number> memory_watched() const;

private:
  enum class phase : std::uint8_t { starting, idle, running, stopping, dismissed, dying };
  struct worker {
    phase state = phase::starting;
    int pid = 0;
    bool sandboxed = false;
    bool leaving = false;
    sandbox_rules sandbox;
    mono_time heard;                      ///< last sign of life
    std::optional<mono_time> deadline;    ///< of the state: hello, task time, grace, idling, dying
    std::optional<worker_task> task;
    mono_time task_started;
    std::optional<std::uint32_t> open_report; ///< rung that waits for its verdict
    std::optional<error> why;             ///< why it is being stopped or killed
    std::uint64_t rss_peak = 0;
  };

  std::string describe(worker_number n, const worker& w) const;
  void dispatch(mono_time now);
  void give(worker_number n, worker& w, mono_time now);
  void kill(worker_number n, worker& w, error why, mono_time now);
  /// Sends an idle worker home; it is killed if it does not go.
  void dismiss(worker_number n, worker& w, const std::string& reason, mono_time now);
  void ask_to_stop(worker_number n, worker& w, error why, mono_time now);
  /// Ends the worker's task; the worker keeps its state.
  void finish(worker& w, error cause, std::string body, mono_time now);
  void end_unstarted(const worker_task& t, error cause);
  void after_task(worker& w, mono_time now);
  bool is_for_current_task(const worker& w, const std::string& task, std::uint32_t attempt) const;

  worker_table_options options_;
  worker_number next_ = 1;
  std::map<worker_number, worker> workers_;
  std::deque<worker_task> queue_;
  std::vector<action> actions_;
  std::optional<std::string> closed_; ///< why no more tasks are taken
};

/// "killed by signal 11 (SEGV)" or "exited with code 3".
std::string describe(const worker_exit& how);

} // namespace flywheel
