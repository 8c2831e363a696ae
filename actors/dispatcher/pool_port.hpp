#pragma once
// Workers as an actor uses them: what their threads tell becomes values that can be sent, and a verdict is given by number.

#include "cluster/worker/worker_pool.hpp"

#include <functional>
#include <memory>

namespace flywheel {

/// Ends its tasks when it is destroyed; nothing is told afterwards.
class pool_port {
public:
  struct listener {
    std::function<void(std::uint64_t number, const wire::report&)> reported; ///< answer with verdict(number, ...)
    std::function<void(const task_end&)> ended;                              ///< exactly once for each task
  };
  pool_port() = default;
  pool_port(const pool_port&) = delete;
  pool_port& operator=(const pool_port&) = delete;
  virtual ~pool_port() = default;

  virtual void submit(worker_task t) = 0;
  virtual void cancel(const std::string& task, const std::string& reason) = 0;
  /// Lets the worker that waits under `number` go on or end. Unknown numbers are ignored.
  virtual void verdict(std::uint64_t number, bool go_on) = 0;
};

/// Opens workers; the listener is called from any thread and must not block.
using pool_opener = std::function<result<std::unique_ptr<pool_port>>(worker_pool_options, pool_port::listener, const time_source&)>;

/// A worker_pool: processes on this machine.
result<std::unique_ptr<pool_port>> open_worker_pool(worker_pool_options options, pool_port::listener to, const time_source& time);

} // namespace flywheel
