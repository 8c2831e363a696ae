#pragma once
// Between whoever orders tasks (the trainer, through a task_runner) and the dispatcher that has them run: which runner is the present one,
// and its ears. A trainer that died and was started again has a new runner; what the old one ordered is told to nobody.

#include "cluster/worker/worker_pool.hpp"

#include <memory>
#include <mutex>

namespace flywheel {

/// Thread-safe.
class task_channel {
public:
  /// Numbers count up from 1.
  std::uint64_t attach(worker_pool_events events) {
    const std::lock_guard lock{mutex_};
    events_ = std::make_shared<worker_pool_events>(std::move(events));
    return ++runner_;
  }
  void detach(std::uint64_t runner) {
    const std::lock_guard lock{mutex_};
    if (runner == runner_)
      events_.reset();
  }
  void ended(std::uint64_t runner, const task_end& e) const {
    if (const auto ears = of(runner))
      ears->ended(e);
  }
  /// False if nobody listens: the worker need not wait.
  bool reported(std::uint64_t runner, const wire::report& r, std::function<void(bool)> answer) const {
    const auto ears = of(runner);
    if (ears)
      ears->reported(r, std::move(answer));
    return ears != nullptr;
  }

private:
  std::shared_ptr<const worker_pool_events> of(std::uint64_t runner) const {
    const std::lock_guard lock{mutex_};
    return runner == runner_ ? events_ : nullptr;
  }
  mutable std::mutex mutex_;
  std::uint64_t runner_ = 0;
  std::shared_ptr<const worker_pool_events> events_;
};

} // namespace flywheel
