#include "checkpoints/checkpoint.hpp"

#include <algorithm>
#include <array>

namespace flywheel {

namespace {
struct type_facts {
  std::string_view name;
  std::size_t size;
};
constexpr std::array<type_facts, tensor_type_count> facts{{{"f32", 4}, {"f64", 8}, {"i32", 4}, {"i64", 8}, {"u8", 1}, {"u16", 2},
                                                           {"u32", 4}, {"u64", 8}, {"i8", 1}, {"i16", 2}, {"f16", 2}, {"bf16", 2}}};
} // namespace

std::string_view name_of(tensor_type type) noexcept { return facts[static_cast<std::size_t>(type)].name; }
std::size_t size_of(tensor_type type) noexcept { return facts[static_cast<std::size_t>(type)].size; }

std::optional<tensor_type> tensor_type_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < facts.size(); ++i)
    if (facts[i].name == name)
      return static_cast<tensor_type>(i);
  return std::nullopt;
}

const tensor* checkpoint::find(std::string_view name) const noexcept {
  const auto at = std::find_if(tensors.begin(), tensors.end(), [&](const tensor& t) { return t.name == name; });
  return at == tensors.end() ? nullptr : &*at;
}

const tensor* checkpoint::find(std::string_view name, tensor_type type) const noexcept {
  const auto* t = find(name);
  return t && t->type == type ? t : nullptr;
}

} // namespace flywheel
