#include "checkpoints/tensor_slice.hpp"

#include <algorithm>
#include <limits>

namespace flywheel {

bool is_tensor_name(std::string_view name) noexcept {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= tensor_name_max && name != "." && std::all_of(name.begin(), name.end(), allowed);
}

std::optional<std::uint64_t> elements_of(std::span<const std::uint64_t> shape) noexcept {
  std::uint64_t n = 1;
  for (const auto extent : shape) {
    if (extent != 0 && n > std::numeric_limits<std::uint64_t>::max() / extent)
      return std::nullopt;
    n *= extent;
  }
  return n;
}

std::optional<std::uint64_t> bytes_needed(std::span<const std::uint64_t> shape, tensor_type type) noexcept {
  const auto n = elements_of(shape);
  if (!n || *n > std::numeric_limits<std::uint64_t>::max() / size_of(type))
    return std::nullopt;
  return *n * size_of(type);
}

tensor_part tensor_part::whole(std::string name, tensor_type type, std::vector<std::uint64_t> shape) {
  tensor_part p{std::move(name), type, std::move(shape), {}};
  p.range.end = elements_of(p.shape).value_or(0);
  return p;
}

element_range even_share(std::uint64_t elements, std::uint32_t rank, std::uint32_t ranks) noexcept {
  const std::uint64_t share = elements / ranks + (elements % ranks != 0 ? 1 : 0);
  return {std::min(elements, share * rank), std::min(elements, share * (std::uint64_t{rank} + 1))};
}

element_range rows_of(std::span<const std::uint64_t> shape, std::uint64_t first, std::uint64_t last) noexcept {
  const auto row = elements_of(shape.subspan(shape.empty() ? 0 : 1)).value_or(0);
  return {first * row, last * row};
}

} // namespace flywheel
