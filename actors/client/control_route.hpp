#pragma once
// How a command reaches a running Flywheel: through the socket in the state folder, or, with --cluster, through the head's port.

#include "actors/client/commands.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/security/certificates.hpp"

#include <nlohmann/json_fwd.hpp>

#include <memory>

namespace flywheel {

class control_route {
public:
  virtual ~control_route() = default;
  /// Sends a request (docs/control.md) and waits for its answer. The error inside a reply is returned as the error.
  virtual result<nlohmann::json> ask(const nlohmann::json& request, nanoseconds wait = std::chrono::seconds{65}) = 0;
};

/// Whether the command was told to speak to a cluster's head.
bool asks_cluster(const command_context& c);

/// unreachable with what to do; not_allowed if the cluster does not know the certificate.
result<std::unique_ptr<control_route>> open_route(const command_context& c);

} // namespace flywheel
