#pragma once
// Runs tasks in child processes and tells exactly once how each ended. Owns the processes, the socket and the clock of
// silence; decisions about what to run are made elsewhere.

#include "cluster/base/clock.hpp"
#include "cluster/worker/lease_page.hpp"
#include "cluster/worker/task_runner.hpp"
#include "cluster/worker/worker_protocol.hpp"

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace flywheel {

/// How a task ended. `cause` is ok, or why not: worker_lost (signal or exit code in what), worker_silent, out_of_memory,
/// timed_out, protocol_violation, or what the worker itself said.
struct task_end {
  std::string task;
  std::uint32_t attempt = 1;
  std::string body;            ///< of done
  error cause{errc::ok, {}};
  double seconds = 0;
  std::uint64_t rss_peak_bytes = 0;
  bool sandboxed = false;      ///< the worker was confined to its sandbox_rules
};

/// What the child may see of the file system (Landlock); empty lists: no restriction is set and `sandboxed` says so.
struct sandbox_rules {
  std::vector<std::filesystem::path> readable;
  std::vector<std::filesystem::path> writable; ///< and readable
  bool operator==(const sandbox_rules&) const = default;
};

/// What a task needs of the files of whoever ordered it, for a node that does not share them: there the files are fetched before, and what
/// the task leaves is brought back. Paths are those of whoever ordered it. `folder` empty: nothing is known of its files, so it can only
/// run where they are.
struct task_files {
  std::vector<std::filesystem::path> inputs; ///< files or folders that it reads
  std::filesystem::path folder;              ///< what follows lies in it
  std::vector<std::string> state;            ///< folders that it continues: fetched first, brought back at each report
  std::vector<std::string> results;          ///< folders that appear whole or not at all, at its end
  std::vector<std::string> body_paths;       ///< JSON pointers to the paths in its body
  std::vector<std::string> result_paths;     ///< and in the body of its done
  bool operator==(const task_files&) const = default;
};

struct worker_task {
  wire::task task;
  nanoseconds time_max{};              ///< 0: unlimited
  std::uint64_t memory_max = 0;        ///< bytes of address space/RSS; 0: unlimited
  sandbox_rules sandbox;               ///< applied to the worker before it reads the task; a worker serves one sandbox only
  task_files files{};
};

struct worker_pool_options {
  std::filesystem::path socket;              ///< ipc path, mode 0600 folder
  std::vector<std::string> command;          ///< argv of a worker, e.g. {"/proc/self/exe", "_worker"}
  std::uint32_t slots = 1;
  nanoseconds heartbeat{500'000'000};
  nanoseconds silent_after{10'000'000'000};  ///< no heartbeat for so long: the worker is killed (SIGKILL), worker_silent
  nanoseconds hello_within{20'000'000'000};
  nanoseconds stop_grace{2'000'000'000};     ///< a worker that ignores `stop` for so long is killed
  nanoseconds idle_for{30'000'000'000};      ///< an idle worker ends after so long; until then it is reused
  std::shared_ptr<lease_page> lease = {};    ///< null: the workers' time has no end but the node's
  nanoseconds die_within{10'000'000'000};    ///< a killed process that does not die by then keeps its slot, not its task
};

/// Callbacks run on the pool's own thread and must not block; hand over to an actor by anon_send.
struct worker_pool_events {
  std::function<void(const std::string& task, int pid)> started;
  /// `answer(go_on)` may be called later, from any thread, once.
  std::function<void(const wire::report&, std::function<void(bool go_on)> answer)> reported;
  std::function<void(const wire::log&)> logged;
  std::function<void(const task_end&)> ended;  ///< exactly once per submitted task
};

class worker_pool final : public task_runner {
public:
  static result<std::unique_ptr<worker_pool>> start(worker_pool_options options, worker_pool_events events,
                                                    const time_source& time);
  /// Queues the task; runs when a slot is free. Any thread.
  void submit(worker_task t) override;
  /// Ends the task (queued or running) with errc::cancelled; a running worker gets `stop`, then SIGKILL after 2 s.
  void cancel(const std::string& task, const std::string& reason) override;
  std::uint32_t free_slots() const;
  /// True if this kernel can confine workers (Landlock); else the reason.
  static result<bool> can_sandbox();
  ~worker_pool() override;  ///< kills and reaps every worker; removes the socket

private:
  worker_pool();
  struct impl;
  std::unique_ptr<impl> impl_;
};

/// The worker's side: connects, says hello, and serves tasks until told to stop or until its node is gone.
/// `run(task, report, log, stop)` returns the body of done, or an error for failed. Returns the process's exit code.
struct worker_context {
  std::function<result<bool>(std::uint32_t rung, std::uint64_t resource, double value, double standard_error)> report;
  std::function<void(std::string_view level, std::string_view text)> log;
  std::function<void(std::uint64_t step)> step;      ///< progress for the heartbeat
  const std::atomic<bool>* stop = nullptr;
};
using worker_function = std::function<result<std::string>(const wire::task&, const worker_context&)>;
/// `socket` may be empty: then the one in FLYWHEEL_WORKER_SOCKET, which every pool sets for its workers.
int serve_worker(const std::filesystem::path& socket, const worker_function& run);

} // namespace flywheel
