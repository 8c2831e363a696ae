#pragma once
// What a checkpoint must hold so that a training goes on to the bit, and under which names. docs/formats/checkpoint-sharded.md.
//
//   weight.<parameter>            what the forward pass reads
//   master.<parameter>            its fp32 copy, where the weight is a 16-bit type
//   <optimiser>.<slot>.<parameter>  e.g. adamw.m.<parameter>: same shape as the parameter
//   state.position                u64[6], see training_position
//   state.random.<stream>         u64[]: a generator's words (4 for xoshiro256**; key and counter for Philox)
//
// With generators that count (Philox: key and counter, not history) and a position that counts samples over all ranks, none
// of this depends on the number of ranks: a training goes on to the bit on another number of them if its arithmetic does.

#include "checkpoints/sharded_checkpoint.hpp"

namespace flywheel {

/// Where a training stands: all of it counts what is done, so that zeros are the beginning.
struct training_position {
  std::uint64_t step = 0;           ///< optimiser steps; bias correction and schedules follow from it
  std::uint64_t schedule_step = 0;  ///< of the learning rate's schedule, if it was restarted
  std::uint64_t epoch = 0;          ///< the order of the data follows from it and data_seed
  std::uint64_t sample = 0;         ///< samples consumed in this epoch, over all ranks
  std::uint64_t data_seed = 0;
  std::uint64_t skipped = 0;        ///< steps left out because a gradient was not finite
  bool operator==(const training_position&) const = default;
};

std::string weight_name(std::string_view parameter);
std::string master_name(std::string_view parameter);
/// E.g. ("adamw", "m", "layer0.w").
std::string slot_name(std::string_view optimiser, std::string_view slot, std::string_view parameter);
std::string random_name(std::string_view stream);

/// The part that describes the position, and its bytes; one rank writes it.
tensor_part position_part();
std::vector<std::byte> position_bytes(const training_position& p);
/// invalid_format if the checkpoint has none of this form.
result<training_position> read_position(const sharded_checkpoint& c);

/// Whether a training of this kind can go on from the checkpoint: a position, and for every weight its slots with the
/// weight's shape. The error names the first that is missing.
status check_resumable(const checkpoint_manifest& m, std::string_view optimiser, std::span<const std::string_view> slots);

} // namespace flywheel
