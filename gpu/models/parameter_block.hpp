#pragma once
// The parameters of a network are one array, so that optimiser, clipping, gradient exchange and checkpoints see one
// tensor; a table of blocks says what is where.

#include <cstddef>
#include <string>

namespace flywheel::gpu {

/// A named stretch of the parameter array: rows x columns from `offset`, row-major.
struct parameter_block {
  std::string name;
  std::size_t offset = 0, rows = 0, columns = 0;
  bool decays = false;                     ///< weight decay applies: weights do; biases, gains and embeddings do not
  std::size_t size() const noexcept { return rows * columns; }
};

} // namespace flywheel::gpu
