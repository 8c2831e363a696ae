#pragma once
// Data parallelism: each rank computes gradients of its share of the batch; here they are averaged, bucket by bucket, while
// backward still runs.
//
// Buckets are always reduced in their order, whatever order their gradients become ready in, because all ranks must call
// the same collectives. With a CPU backend the average has the same bits in every run and on every rank (see `reduction`).

#include "nccl/bucket_plan.hpp"
#include "nccl/communication_thread.hpp"

#include <memory>
#include <span>

namespace flywheel::nccl {

/// What becomes of a bucket that is ready.
enum class bucket_reduction : std::uint8_t {
  all_ranks, ///< every rank gets the whole average (plain data parallelism)
  own_part,  ///< each rank gets the average of the elements it owns (sharded_optimizer)
};

/// One model's gradients. One thread, but for ready(), which several threads may call for different parameters.
class gradient_buckets {
public:
  /// `sizes`: elements of each parameter in the order of forward. Allocates the flat gradient (f32, zeroed) from the communicator.
  /// The thread and its communicator must outlive this. `timeout` is each collective's.
  static result<std::unique_ptr<gradient_buckets>> make(communication_thread& thread, std::span<const std::size_t> sizes,
                                                        std::size_t bucket_bytes, bucket_reduction how, nanoseconds timeout);
  ~gradient_buckets(); ///< waits for what is under way

  /// Where backward writes the gradient of a parameter. Not between its ready() and the end of finish().
  std::span<float> gradient(std::size_t parameter) const;
  /// The gradient of `parameter` is complete: when it is the last of its bucket, and earlier buckets are ready, the bucket goes.
  /// Once a step per parameter, an assert otherwise. Never blocks on communication.
  void ready(std::size_t parameter);
  /// Waits until all buckets are reduced; then gradients hold averages, and the next step may begin. All parameters must have been
  /// ready(), an assert otherwise. The first failure, if there is one.
  status finish();

  const bucket_plan& plan() const noexcept { return plan_; }
  /// The whole flat array, in the layout of plan().
  std::span<float> flat() const noexcept { return flat_; }
  communication_thread& thread() const noexcept { return thread_; }
  nanoseconds timeout() const noexcept { return timeout_; }
  bucket_reduction how() const noexcept { return how_; }

private:
  gradient_buckets(communication_thread& thread, bucket_plan plan, std::span<float> flat, bucket_reduction how, nanoseconds timeout);

  communication_thread& thread_;
  const bucket_plan plan_;
  const std::span<float> flat_;
  const bucket_reduction how_;
  const nanoseconds timeout_;
  std::mutex mutex_; ///< guards the rest
  std::vector<bool> is_ready_;
  std::vector<std::size_t> missing_; ///< by bucket
  std::size_t next_ = 0;             ///< the first bucket that has not gone
  std::vector<collective_handle> under_way_;
};

} // namespace flywheel::nccl
