#pragma once
// The arithmetic of a reduction on the CPU: many arrays in the order of the ranks into one result, written to many places.

#include "nccl/collective_types.hpp"

#include <span>

namespace flywheel::nccl {

/// result[i] = sources[0][i] op sources[1][i] op ... (in this order; see `reduction`), written to every one of `targets`.
/// A target may be one of the sources (in place), but must not overlap one in any other way. At least one source.
/// Any thread; pure but for the targets.
void reduce_in_order(element type, reduction op, std::span<const void* const> sources, std::span<void* const> targets,
                     std::size_t count) noexcept;

/// Round to nearest, ties to even; a NaN stays one.
std::uint16_t to_bf16(float x) noexcept;
float from_bf16(std::uint16_t bits) noexcept;

} // namespace flywheel::nccl
