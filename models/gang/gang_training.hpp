#pragma once
// A data-parallel training of a small transformer by the ranks of a gang: the seed of gang trials, and what the launcher is tested
// and measured with. Each rank computes its share of every batch, gradients are averaged over the communicator, every rank keeps
// all weights and saves its share of the state.
//
// It goes on to the bit: killed at any step and started again from its newest checkpoint, it ends with the same weights and loss as
// if nothing had happened, on the same number of ranks. The data are made by a formula from the step.

#include "checkpoints/training_state.hpp"
#include "cluster/gang/rank_board.hpp"
#include "gpu/models/transformer_layout.hpp"
#include "nccl/gang_record.hpp"

#include <filesystem>
#include <functional>

namespace flywheel {

struct gang_training_options {
  gpu::transformer_shape shape = small_shape();
  std::size_t sequences = 8, time = 32; ///< of a whole batch; `sequences` is a multiple of the ranks, at most 64
  std::uint64_t steps = 200;
  std::uint64_t checkpoint_every = 10;  ///< steps; 0: never
  std::uint64_t seed = 1;
  double rate = 1e-3;
  std::filesystem::path checkpoints;    ///< empty: it neither saves nor resumes
  std::uint64_t attempt = 1;            ///< the fencing number: a newer one takes the folder over
  nanoseconds collective_max{600'000'000'000}; ///< the launcher notices sooner
  std::function<bool()> stop;           ///< asked once a step: if any rank says true, all save after that step, and end. May be empty

  /// 360,000 parameters: a step of 10 to 20 ms on one core.
  static gpu::transformer_shape small_shape();
};

struct gang_training_result {
  std::uint64_t resumed_from = 0; ///< steps that an earlier attempt had saved
  double loss = 0;                ///< of the last step, the mean over all ranks
  bool stopped = false;           ///< before its end, because it was asked to
  std::string weights;            ///< SHA-256 of all weights' bytes
};

/// Runs one rank to the end; all ranks of `record` call it at about the same time. Says on `board` where it is, and whose fault an
/// error is. Errors: those of join_gang() and of collectives, stale_epoch (a newer attempt has begun), what the disk says, and
/// invalid_argument for options that do not fit together.
result<gang_training_result> train_in_gang(const nccl::gang_record& record, const gang_training_options& options, rank_reporter& board);

} // namespace flywheel
