#pragma once
// CAF's middleman as the gate needs it: mutual TLS or nothing, one port, one dial at a time per peer.

#include "actors/protocol/agents.hpp"
#include "cluster/security/certificates.hpp"

#include <cstdint>
#include <string>

namespace flywheel {

struct tls_transport_options {
  tls_files files;
  std::chrono::milliseconds heartbeat{500}; ///< CAF's own, below ours: a connection whose peer is silent is closed
  std::chrono::milliseconds dead_after{3000};
};

/// The certificates are checked before CAF sees them (it hangs on a bad file, and without any it would talk to everybody). Errors as
/// of check_tls_files. Call before the actor system is made from `config`.
result<identity> use_tls(caf::actor_system_config& config, const tls_transport_options& options, wall_time now, std::optional<role> wanted = std::nullopt);

/// Lets peers in at `address`:`port` (0: any free port); the port that it is. address_in_use, permission_denied.
result<std::uint16_t> open_port(const gate_agent& gate, const std::string& address, std::uint16_t port);

/// The peer's gate. Blocks: probes first, because CAF's own dialling of an address that drops packets blocks every other one for
/// minutes. unreachable, or not_allowed if TLS was refused (which CAF cannot tell from a closed connection).
result<caf::actor> dial_port(caf::actor_system& system, const std::string& host, std::uint16_t port);

/// Whether something accepts connections there, within `wait`. unreachable with the reason.
status probe(const std::string& host, std::uint16_t port, std::chrono::milliseconds wait);

/// "host:port", "[::1]:port"; invalid_argument.
result<std::pair<std::string, std::uint16_t>> parse_address(const std::string& text);

} // namespace flywheel
