#include "nccl/communication_thread.hpp"

namespace flywheel::nccl {

status collective_handle::wait() const {
  if (!state_)
    return success();
  std::unique_lock lock{state_->mutex};
  state_->changed.wait(lock, [&] { return state_->done; });
  return state_->outcome;
}

bool collective_handle::is_done() const {
  if (!state_)
    return true;
  const std::lock_guard lock{state_->mutex};
  return state_->done;
}

communication_thread::communication_thread(communicator& over) : over_(over), thread_([this] { serve(); }) {}

communication_thread::~communication_thread() {
  {
    const std::lock_guard lock{mutex_};
    ending_ = true;
  }
  given_.notify_one();
  thread_.join();
}

collective_handle communication_thread::all_reduce(array_view data, reduction op, nanoseconds timeout) {
  return give({collective::all_reduce, data, op, timeout, nullptr});
}
collective_handle communication_thread::reduce_scatter(array_view data, reduction op, nanoseconds timeout) {
  return give({collective::reduce_scatter, data, op, timeout, nullptr});
}
collective_handle communication_thread::all_gather(array_view data, nanoseconds timeout) {
  return give({collective::all_gather, data, reduction::sum, timeout, nullptr});
}

collective_handle communication_thread::give(job j) {
  collective_handle handle;
  handle.state_ = j.state = std::make_shared<collective_handle::state>();
  {
    const std::lock_guard lock{mutex_};
    jobs_.push_back(std::move(j));
  }
  given_.notify_one();
  return handle;
}

nanoseconds communication_thread::busy() const {
  const std::lock_guard lock{mutex_};
  return busy_;
}

status communication_thread::carry_out(const job& j) {
  switch (j.what) {
  case collective::all_reduce: return over_.all_reduce(j.data, j.op, j.timeout);
  case collective::reduce_scatter: return over_.reduce_scatter(j.data, j.op, j.timeout);
  case collective::all_gather: return over_.all_gather(j.data, j.timeout);
  case collective::broadcast: case collective::barrier: case collective::join: break;
  }
  return error{errc::internal, "a collective that cannot be given"};
}

void communication_thread::serve() {
  std::unique_lock lock{mutex_};
  while (true) {
    given_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty())
      return;
    const job next = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    const auto start = system_clock().mono();
    auto outcome = carry_out(next);
    const auto took = system_clock().mono() - start;
    {
      const std::lock_guard done{next.state->mutex};
      next.state->outcome = std::move(outcome);
      next.state->done = true;
    }
    next.state->changed.notify_all();
    lock.lock();
    busy_ += took;
  }
}

} // namespace flywheel::nccl
