#pragma once
// Which elements of which tensor: the vocabulary of sharded checkpoints. Pure.
//
// Every slice is a range of the flattened (row-major) tensor. Whole rows of a matrix are such a range; columns are not: a
// layer that is cut by columns is stored as tensors of its own.

#include "checkpoints/checkpoint.hpp"

#include <optional>

namespace flywheel {

inline constexpr std::size_t tensor_name_max = 200, tensor_rank_max = 8, tensors_max = 1'000'000;

/// Letters, digits, '.', '_' and '-', 1 to tensor_name_max of them, and not ".".
bool is_tensor_name(std::string_view name) noexcept;
/// Elements of the shape (1 for a scalar's empty shape); nothing if that overflows 64 bits.
std::optional<std::uint64_t> elements_of(std::span<const std::uint64_t> shape) noexcept;
/// Bytes that the shape needs; nothing if that overflows 64 bits.
std::optional<std::uint64_t> bytes_needed(std::span<const std::uint64_t> shape, tensor_type type) noexcept;

/// Elements [begin, end).
struct element_range {
  std::uint64_t begin = 0, end = 0;
  std::uint64_t size() const noexcept { return end - begin; }
  bool operator==(const element_range&) const = default;
};

/// A slice of a tensor that is described as a whole.
struct tensor_part {
  std::string name;
  tensor_type type = tensor_type::f32;
  std::vector<std::uint64_t> shape; ///< of the whole tensor
  element_range range;              ///< what this part holds
  std::uint64_t bytes() const noexcept { return range.size() * size_of(type); }
  bool operator==(const tensor_part&) const = default;

  /// The whole tensor as one part.
  static tensor_part whole(std::string name, tensor_type type, std::vector<std::uint64_t> shape);
};

/// Rank `rank`'s share of `elements`, equal but for the last ones: ceil(elements / ranks) each. rank < ranks.
element_range even_share(std::uint64_t elements, std::uint32_t rank, std::uint32_t ranks) noexcept;
/// Rows [first, last) of a tensor of this shape (its first dimension), as elements.
element_range rows_of(std::span<const std::uint64_t> shape, std::uint64_t first, std::uint64_t last) noexcept;

} // namespace flywheel
