#include "nccl/communicator.hpp"

#include "cluster/base/assert.hpp"
#include "nccl/backends.hpp"
#include "nccl/rendezvous.hpp"

namespace flywheel::nccl {

status communicator::all_reduce(array_view data, reduction op, nanoseconds timeout) {
  return perform({collective::all_reduce, data, op, 0, 0}, timeout);
}
status communicator::reduce_scatter(array_view data, reduction op, nanoseconds timeout) {
  return perform({collective::reduce_scatter, data, op, 0, 0}, timeout);
}
status communicator::all_gather(array_view data, nanoseconds timeout) {
  return perform({collective::all_gather, data, reduction::sum, 0, 0}, timeout);
}
status communicator::broadcast(array_view data, int root, nanoseconds timeout) {
  return perform({collective::broadcast, data, reduction::sum, root, 0}, timeout);
}
status communicator::barrier(nanoseconds timeout) { return perform({}, timeout); }

status communicator::check(const collective_call& call, nanoseconds timeout) const {
  const auto bad = [&](std::string what) {
    return error{errc::invalid_argument, std::string{name_of(call.what)} + ": " + std::move(what),
                 "gang " + record_.gang + ", rank " + std::to_string(rank())};
  };
  if (timeout.count() <= 0)
    return bad("the timeout must be longer than nothing");
  if (call.data.count != 0 && call.data.data == nullptr)
    return bad(std::to_string(call.data.count) + " elements at a null address");
  if (reinterpret_cast<std::uintptr_t>(call.data.data) % bytes_of(call.data.type) != 0)
    return bad("the array is not aligned to its elements");
  if (call.data.count > (std::size_t{1} << 48))
    return bad(std::to_string(call.data.count) + " elements are no array");
  if (call.root < 0 || call.root >= size())
    return bad("there is no rank " + std::to_string(call.root) + " to be the root of " + std::to_string(size()));
  return success();
}

status communicator::perform(collective_call call, nanoseconds timeout) {
  FLYWHEEL_CHECK(check(call, timeout));
  FLYWHEEL_ASSERT(!busy_.exchange(true, std::memory_order_acquire), "collectives are called by one thread at a time");
  auto failed = failure();
  if (!failed) {
    call.sequence = sequence_.fetch_add(1, std::memory_order_relaxed) + 1;
    failed = run(call, system_clock().mono() + timeout);
    if (failed)
      failed = keep(std::move(*failed));
  }
  busy_.store(false, std::memory_order_release);
  if (failed)
    return told(*failed, call.what);
  return success();
}

error communicator::told(const gang_failure& f, collective during) const {
  std::string what = f.rank < 0 ? "the gang" : "rank " + std::to_string(f.rank);
  switch (f.kind) {
  case failure_kind::peer_lost: what += " is lost"; break;
  case failure_kind::timed_out: what += " did not come in time"; break;
  case failure_kind::aborted: what += " aborted"; break;
  case failure_kind::mismatch: what += " called something else"; break;
  case failure_kind::library: what = "the transport failed"; break;
  case failure_kind::none: break;
  }
  what += " (seen by rank " + std::to_string(f.seen_by) + " in its collective " + std::to_string(f.sequence) + ")";
  if (!f.what.empty())
    what += ": " + f.what;
  return {code_of(f.kind), std::move(what),
          "gang " + record_.gang + " generation " + std::to_string(record_.generation) + ", rank " + std::to_string(rank()) +
              " of " + std::to_string(size()) + ", " + std::string{name_of(during)} + " " + std::to_string(sequence()),
          "form the gang anew as the next generation, from the last checkpoint"};
}

gang_failure communicator::keep(gang_failure f) {
  const std::lock_guard lock{mutex_};
  if (!failure_)
    failure_ = std::move(f);
  return *failure_;
}

void communicator::abort(std::string reason) {
  const auto kept = keep({failure_kind::aborted, rank(), rank(), sequence(), std::move(reason)});
  if (!interrupted_.exchange(true, std::memory_order_acq_rel))
    interrupt(kept);
}

std::optional<gang_failure> communicator::failure() const {
  const std::lock_guard lock{mutex_};
  return failure_;
}

result<std::unique_ptr<communicator>> join_gang(const gang_record& record, nanoseconds timeout) {
  FLYWHEEL_CHECK(check(record));
  if (timeout.count() <= 0)
    return error{errc::invalid_argument, "the timeout must be longer than nothing"};
  const auto deadline = system_clock().mono() + timeout;
  FLYWHEEL_CHECK(enter_generation(record));
  switch (record.use) {
  case backend::shared_memory: return join_shared(record, deadline);
  case backend::gloo: return join_gloo(record, deadline);
  case backend::nccl: return join_nccl(record, deadline);
  }
  return error{errc::internal, "a backend without a name"};
}

} // namespace flywheel::nccl
