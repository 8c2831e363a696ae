#pragma once
// One envelope between two gates: a MessagePack map, version 1. Bytes in docs/gate-protocol.md, pinned by golden tests.
//
//   hello ->  <- challenge  proof ->  <- welcome | refuse        who is there (handshake.hpp)
//   note, call, answer, ack, goodbye                            both ways, afterwards (peer_link.hpp)

#include "cluster/base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace flywheel::gate {

inline constexpr std::uint32_t protocol_version = 1;
/// An envelope is its body and this much around it at most.
inline constexpr std::size_t header_bytes_max = 4096;
/// Names, PEM, nonces and signatures fit in it; nobody is believed before the handshake is over.
inline constexpr std::size_t handshake_bytes_max = 64u << 10;

enum class envelope_kind : std::uint8_t { hello, challenge, proof, welcome, refuse, note, call, answer, ack, goodbye };
std::string_view name_of(envelope_kind k) noexcept;

struct envelope {
  envelope_kind kind = envelope_kind::note;
  std::uint64_t incarnation = 0; ///< of the sender
  std::uint64_t sequence = 0;    ///< note, call, answer: 1, 2, 3, ... per connection and direction
  std::uint64_t received = 0;    ///< the largest sequence the sender has taken in: gives credit back
  std::uint64_t call = 0;        ///< call and its answer: a number the caller chose
  std::uint32_t wait_ms = 0;     ///< call: how long the caller will wait from now on
  std::string service;           ///< note and call: who it is for, on the other node
  std::string body;              ///< binary; its meaning belongs to the service
  error problem{errc::ok, {}};   ///< refuse; and answer, instead of a body
  bool operator==(const envelope& o) const;
};

/// Every text must be UTF-8 (printable() makes any so).
std::string encode(const envelope& e);
/// too_large, protocol_violation or incompatible_version, naming the byte or the field. Nothing is reserved before it is checked
/// against what is there; unknown fields are ignored, so that later versions can add some.
result<envelope> decode(std::string_view bytes);

} // namespace flywheel::gate
