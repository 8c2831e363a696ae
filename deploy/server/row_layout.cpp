#include "deploy/server/row_layout.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace flywheel {
namespace {

/// Eight bytes a step; only has to spread the few names of one model, which no client can choose.
std::uint64_t spread(std::string_view text) noexcept {
  constexpr std::uint64_t k = 0x9e3779b97f4a7c15ULL;
  std::uint64_t h = text.size() * k;
  const char* p = text.data();
  std::size_t left = text.size();
  for (; left >= 8; p += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, 8);
    h = (h ^ word) * k;
    h ^= h >> 29;
  }
  if (left > 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, left);
    h = (h ^ word) * k;
  }
  return h ^ h >> 32;
}

bool reads_as_number(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E';
  });
}

std::vector<std::string> names_of(const model_signature& signature) {
  std::vector<std::string> names;
  names.reserve(signature.inputs.size());
  for (const auto& i : signature.inputs)
    names.push_back(i.name);
  return names;
}

} // namespace

name_table::name_table(std::vector<std::string> names) : names_(std::move(names)) {
  slots_.assign(std::bit_ceil(std::max<std::size_t>(2, names_.size() * 2)), -1);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    std::size_t at = spread(names_[i]) & mask;
    while (slots_[at] >= 0 && names_[static_cast<std::size_t>(slots_[at])] != names_[i])
      at = (at + 1) & mask;
    if (slots_[at] < 0)
      slots_[at] = static_cast<std::int32_t>(i);
  }
}

std::int32_t name_table::find(std::string_view name) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = spread(name) & mask; slots_[at] >= 0; at = (at + 1) & mask)
    if (names_[static_cast<std::size_t>(slots_[at])] == name)
      return slots_[at];
  return -1;
}

row_layout::row_layout(const model_signature& signature, const std::vector<std::string>& tolerated)
    : names_(names_of(signature)), tolerated_(tolerated), target_(signature.target) {
  inputs_.reserve(signature.inputs.size());
  for (const auto& i : signature.inputs)
    inputs_.push_back({i.type, std::any_of(i.categories.begin(), i.categories.end(), reads_as_number),
                       name_table{i.categories}});
}

std::int32_t row_layout::find(std::string_view name) const noexcept {
  if (const auto i = names_.find(name); i >= 0)
    return i;
  return tolerated_.find(name) >= 0 ? ignored : unknown;
}

bool row_layout::same_coding(const row_layout& other) const noexcept {
  return names() == other.names() &&
         std::equal(inputs_.begin(), inputs_.end(), other.inputs_.begin(), other.inputs_.end(),
                    [](const input& a, const input& b) {
                      return a.type == b.type && a.categories.names() == b.categories.names();
                    });
}

error row_layout::unknown_name(std::string_view name) const {
  error e{errc::invalid_argument, "the model has no input '" + printable(name, 64) + "'"};
  if (name == target_ && !target_.empty())
    e.hint = "this is what the model predicts: leave it out";
  else if (const auto near = nearest(name, names()); !near.empty())
    e.hint = "did you mean '" + std::string{near} + "'?";
  else
    e.hint = "GET /v2/models/<name> lists the inputs";
  return e;
}

} // namespace flywheel
