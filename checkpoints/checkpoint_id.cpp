#include "checkpoints/checkpoint_id.hpp"

#include <array>
#include <charconv>
#include <cstdio>

namespace flywheel {

std::string checkpoint_id::folder_name() const {
  std::array<char, 96> name{};
  std::snprintf(name.data(), name.size(), "step-%012llu-attempt-%06llu", static_cast<unsigned long long>(step),
                static_cast<unsigned long long>(attempt));
  return name.data();
}

std::optional<checkpoint_id> checkpoint_id::from_folder_name(std::string_view name) {
  constexpr std::string_view first = "step-", second = "-attempt-";
  const auto middle = name.find(second);
  if (!name.starts_with(first) || middle == std::string_view::npos)
    return std::nullopt;
  checkpoint_id id;
  const auto digits = [](std::string_view from, std::uint64_t& to) {
    const auto [end, code] = std::from_chars(from.data(), from.data() + from.size(), to);
    return code == std::errc{} && end == from.data() + from.size();
  };
  if (!digits(name.substr(first.size(), middle - first.size()), id.step) || !digits(name.substr(middle + second.size()), id.attempt) ||
      id.folder_name() != name)
    return std::nullopt;
  return id;
}

} // namespace flywheel
