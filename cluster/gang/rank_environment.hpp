#pragma once
// The environment of a rank: torchrun's variables, so that scripts written for it run unchanged, and ours. Pure.
// docs/gangs.md lists them.

#include "cluster/gang/gang_types.hpp"

#include <span>
#include <string>
#include <vector>

namespace flywheel {

struct gang_place {
  std::string run_id;                ///< the same for all attempts
  std::uint64_t attempt = 1;         ///< the fencing number: grows over all launches of one training
  std::uint32_t restart = 0;         ///< of this launch, from 0
  std::uint32_t restarts_max = 0;
  std::string master_host;           ///< of rank 0
  int master_port = 0;
  std::string rendezvous;            ///< a private folder that all ranks see
  std::string checkpoints;           ///< may be empty
};

/// `base` (NAME=VALUE) with the variables of `rank` set, replacing any of the same name. Ranks of one host are numbered by
/// seat.local. `gpus`: what CUDA_VISIBLE_DEVICES is for this rank; empty: left as it is in `base`.
/// OMP_NUM_THREADS becomes 1 if it is not set and several ranks share the host, as with torchrun.
std::vector<std::string> rank_environment(std::span<const std::string> base, const gang_place& place, std::span<const rank_seat> seats,
                                          int rank, const std::string& gpus);

} // namespace flywheel
