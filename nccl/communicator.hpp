#pragma once
// How the ranks of a gang combine arrays: one interface over shared memory, Gloo and NCCL. See docs/gangs.md.
//
// Threads: collectives are called by one thread at a time (an assert otherwise), in the same order with the same arguments on
// all ranks. abort(), failure() and the getters may be called by any thread at any time.
// Deadlines: every call has one; no call waits longer (NCCL: see docs/gangs.md).
// Errors: invalid_argument leaves the communicator as it was, and nothing was sent. Every other error ends it: that call and all
// later ones return the same failure. Then the gang forms anew under the next generation, or ends. After an error the
// contents of the array are unspecified.

#include "cluster/base/clock.hpp"
#include "nccl/collective_types.hpp"
#include "nccl/gang_record.hpp"
#include "nccl/shard.hpp"

#include <atomic>
#include <memory>
#include <mutex>

namespace flywheel::nccl {

/// Where arrays must be.
enum class memory_space : std::uint8_t { host, device };

class communicator {
public:
  virtual ~communicator() = default;
  communicator(const communicator&) = delete;
  communicator& operator=(const communicator&) = delete;

  int rank() const noexcept { return record_.rank; }
  int size() const noexcept { return record_.size(); }
  const gang_record& record() const noexcept { return record_; }
  virtual memory_space memory() const noexcept { return memory_space::host; }

  /// Memory that this backend reduces fastest: in place for shared memory, if all ranks pass memory from here. Zeroed, aligned
  /// to 4096 bytes, valid until the communicator is destroyed. no_capacity beyond the record's arena_bytes. From the thread
  /// that calls collectives; not a collective itself.
  virtual result<std::span<std::byte>> allocate(std::size_t bytes) = 0;

  /// Afterwards each rank's array holds the combination of all ranks' arrays: the same bits on every rank.
  status all_reduce(array_view data, reduction op, nanoseconds timeout);
  /// Afterwards the part own_shard(data) holds the combination; the rest of the array is unspecified.
  status reduce_scatter(array_view data, reduction op, nanoseconds timeout);
  /// Each rank's part own_shard(data) is copied to the same place of all other ranks' arrays.
  status all_gather(array_view data, nanoseconds timeout);
  /// Copies the root's array to all ranks.
  status broadcast(array_view data, int root, nanoseconds timeout);
  /// Returns when all ranks have called it.
  status barrier(nanoseconds timeout);

  /// Which elements of an array of `count` belong to this rank in reduce_scatter and all_gather.
  shard own_shard(std::size_t count) const noexcept {
    return shard_of(count, static_cast<std::size_t>(size()), static_cast<std::size_t>(rank()));
  }

  /// Ends the gang's communication: a collective that is waiting here returns cancelled soon (milliseconds), later ones at once.
  /// The peers get the same from shared memory and Gloo; with NCCL they see a lost peer or their deadline.
  void abort(std::string reason);
  /// What ended it, if something has.
  std::optional<gang_failure> failure() const;
  /// Collectives begun here so far.
  std::uint64_t sequence() const noexcept { return sequence_.load(std::memory_order_relaxed); }

protected:
  explicit communicator(gang_record record) : record_(std::move(record)) {}

  /// Carries out one call; arguments are sound. A failure that is returned has been told to the peers as far as possible.
  virtual std::optional<gang_failure> run(const collective_call& call, mono_time deadline) = 0;
  /// Makes a run() in another thread return soon, and tells the peers. Called at most once.
  virtual void interrupt(const gang_failure& why) noexcept = 0;
  /// abort() has been called; for backends that have to look themselves.
  bool is_interrupted() const noexcept { return interrupted_.load(std::memory_order_acquire); }

private:
  status perform(collective_call call, nanoseconds timeout);
  status check(const collective_call& call, nanoseconds timeout) const;
  error told(const gang_failure& f, collective during) const;
  /// The first failure is kept; returns it.
  gang_failure keep(gang_failure f);

  const gang_record record_;
  std::atomic<std::uint64_t> sequence_{0};
  std::atomic<bool> busy_{false};
  std::atomic<bool> interrupted_{false};
  mutable std::mutex mutex_; ///< guards failure_
  std::optional<gang_failure> failure_;
};

/// Joins the gang of `record` with the backend it names; all ranks call this at about the same time. Blocks until all are there
/// or `timeout` is over. Errors: invalid_argument, stale_epoch (a newer generation has started), timed_out (naming who is
/// missing), worker_lost, unsupported (the backend needs what this machine lacks), protocol_violation (a foreign or malformed
/// peer). Any thread; several gangs may be joined by one process.
result<std::unique_ptr<communicator>> join_gang(const gang_record& record, nanoseconds timeout);

} // namespace flywheel::nccl
