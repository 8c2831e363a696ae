#pragma once
// The name of a sharded checkpoint: its step, and the attempt that made it.

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flywheel {

/// Which checkpoint. A later attempt is newer whatever its step: it goes on from what was true when it began.
struct checkpoint_id {
  std::uint64_t attempt = 0, step = 0;
  auto operator<=>(const checkpoint_id&) const = default;
  /// "step-000000000100-attempt-000002", the name of its folder.
  std::string folder_name() const;
  static std::optional<checkpoint_id> from_folder_name(std::string_view name);
};

} // namespace flywheel
