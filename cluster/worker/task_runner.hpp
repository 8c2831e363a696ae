#pragma once
// Where tasks run: in this machine's worker pool, or wherever the cluster has a slot. Whoever orders tasks cannot tell.

#include <string>
#include <string_view>

namespace flywheel {

struct worker_task;

/// What two attempts at one thing have in common: "goal/trial" of "goal/trial#2". They write to one folder, so a runner lets the later one wait
/// until the earlier has ended (I6).
inline std::string_view line_of(std::string_view task) noexcept { return task.substr(0, task.rfind('#')); }

/// Any thread. How a task ended is told exactly once, through the events that the runner was made with.
class task_runner {
public:
  task_runner() = default;
  task_runner(const task_runner&) = delete;
  task_runner& operator=(const task_runner&) = delete;
  /// Ends every task of this runner; nothing is told afterwards.
  virtual ~task_runner() = default;
  /// Queues the task; runs when a slot is free.
  virtual void submit(worker_task t) = 0;
  /// Ends the task (queued or running) with errc::cancelled.
  virtual void cancel(const std::string& task, const std::string& reason) = 0;
};

} // namespace flywheel
