#pragma once
// Losses fused with their gradient, averaged over the rows.

#include "gpu/matrix_view.hpp"

#include <cstdint>
#include <span>

namespace flywheel::gpu {

/// Cross-entropy of softmax(logits) against `label`, of which `smoothing` is spread evenly over all classes.
/// `logits` is overwritten with d loss / d logits = (softmax - wanted) / rows. Where `averaged_over` is not 0 it takes
/// the place of `rows` in both: a batch may come in chunks, whose losses then add up.
template <class T>
double softmax_cross_entropy(matrix_view<T> logits, std::span<const std::uint32_t> label, double smoothing = 0,
                             double averaged_over = 0);

/// 0.5 (value - wanted)^2; `value` (rows x 1) is overwritten with (value - wanted) / rows.
template <class T> double squared_error(matrix_view<T> value, std::span<const T> wanted);

/// Each row to probabilities, in place.
template <class T> void softmax(matrix_view<T> logits);

} // namespace flywheel::gpu
