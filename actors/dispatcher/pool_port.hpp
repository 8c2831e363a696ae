#pragma once
// A worker pool as an actor uses it: what the pool's thread tells becomes values that can be sent, and a verdict is given by number.

#include "cluster/worker/worker_pool.hpp"

#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace flywheel {

class pool_port {
public:
  struct listener {
    std::function<void(std::uint64_t number, const wire::report&)> reported; ///< answer with verdict(number, ...)
    std::function<void(const task_end&)> ended;
  };
  /// The listener is called from the pool's thread and must not block; not any more once the port is destroyed.
  static result<std::unique_ptr<pool_port>> open(worker_pool_options options, listener to, const time_source& time);

  void submit(worker_task t) { pool_->submit(std::move(t)); }
  void cancel(const std::string& task, const std::string& reason) { pool_->cancel(task, reason); }
  /// Lets the worker that waits under `number` go on or end. Unknown numbers are ignored.
  void verdict(std::uint64_t number, bool go_on);

private:
  struct answers {
    std::mutex mutex;
    std::uint64_t last = 0;
    std::map<std::uint64_t, std::function<void(bool)>> waiting;
  };
  pool_port() = default;
  std::shared_ptr<answers> answers_ = std::make_shared<answers>();
  std::unique_ptr<worker_pool> pool_;
};

} // namespace flywheel
