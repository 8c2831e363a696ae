#pragma once
// The one door between nodes, over CAF's middleman and mutual TLS. Rules of caf.md that it keeps: one connection per pair of nodes,
// dialled by one side; a non-blocking probe before each dial; liveness always on; nothing is sent beyond the peer's credit; what waits
// is failed when the peer goes.

#include "actors/gate/handshake.hpp"
#include "actors/gate/peer_link.hpp"
#include "actors/gate/service_directory.hpp"
#include "cluster/base/clock.hpp"

#include <functional>

namespace flywheel {

struct gate_options {
  gate::credentials credentials;
  std::string greeting;                      ///< JSON; goes with each hello
  service_directory* services = nullptr;     ///< outlives the gate
  const time_source* time = nullptr;
  nanoseconds handshake_within = std::chrono::seconds{5};
  std::size_t peers_max = 1024;              ///< connections, strangers included
  gate::link_limits limits = {};
  /// Told of each refusal and each broken rule (peer or address, why). From the gate's context; must not block.
  std::function<void(const std::string& who, const error& why)> denied = [](const auto&, const auto&) {};
  /// How to get a peer's port: blocking, on a thread of its own; tests put a simulated network here.
  std::function<result<caf::actor>(caf::actor_system&, const std::string& host, std::uint16_t port)> connect;
};

gate_agent spawn_gate(caf::actor_system& system, gate_options options);

} // namespace flywheel
