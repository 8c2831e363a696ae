#pragma once
// Collectives that run while the caller goes on computing: one thread that carries them out in the order in which they were
// given. Works over any backend.

#include "nccl/communicator.hpp"

#include <condition_variable>
#include <deque>
#include <thread>

namespace flywheel::nccl {

/// One collective under way. Copies refer to the same one. Any thread.
class collective_handle {
public:
  collective_handle() = default;
  /// Waits until it is done or has failed (it has its own deadline). A default-made handle is done.
  status wait() const;
  bool is_done() const;

private:
  friend class communication_thread;
  struct state {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    status outcome;
  };
  std::shared_ptr<state> state_;
};

class communication_thread {
public:
  /// The communicator must outlive this, and its collectives are called by nobody else meanwhile.
  explicit communication_thread(communicator& over);
  /// Carries out what was given, then ends. To end sooner, abort() the communicator first.
  ~communication_thread();
  communication_thread(const communication_thread&) = delete;
  communication_thread& operator=(const communication_thread&) = delete;

  // Each starts a collective and returns at once. The array must stay where it is, untouched, until the handle is done. `timeout`
  // counts from when the collective starts, that is, when those given before it are done. All ranks give them in the same order.
  // Any thread, one at a time.
  collective_handle all_reduce(array_view data, reduction op, nanoseconds timeout);
  collective_handle reduce_scatter(array_view data, reduction op, nanoseconds timeout);
  collective_handle all_gather(array_view data, nanoseconds timeout);

  communicator& over() noexcept { return over_; }
  /// How long collectives ran so far, in all.
  nanoseconds busy() const;

private:
  struct job {
    collective what = collective::barrier;
    array_view data;
    reduction op = reduction::sum;
    nanoseconds timeout{};
    std::shared_ptr<collective_handle::state> state;
  };
  collective_handle give(job j);
  void serve();
  status carry_out(const job& j);

  communicator& over_;
  mutable std::mutex mutex_; ///< guards the rest but the thread
  std::condition_variable given_;
  std::deque<job> jobs_;
  bool ending_ = false;
  nanoseconds busy_{};
  std::thread thread_;
};

} // namespace flywheel::nccl
