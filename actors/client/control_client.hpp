#pragma once
// The terminal's side of the control socket.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <memory>

namespace flywheel {

/// One conversation with the process that owns a state directory; not thread-safe.
class control_client {
public:
  /// unreachable if nobody owns `state` (with what to do), invalid_argument if its path is too long for a socket.
  static result<control_client> connect(const std::filesystem::path& state);
  /// Sends a request and waits for its answer. The error inside a reply is returned as the error.
  result<nlohmann::json> ask(const nlohmann::json& request, nanoseconds wait = std::chrono::seconds{65});

  control_client(control_client&&) noexcept;
  control_client& operator=(control_client&&) noexcept;
  ~control_client();

private:
  control_client();
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel
