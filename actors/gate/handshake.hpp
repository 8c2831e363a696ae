#pragma once
// Who is on the other end? TLS proves that the peer's key belongs to a certificate of this cluster, but CAF does not tell which. So
// both sides show their certificate and sign the other's nonce. Pure but for the key, which is asked through `signer`.
//
//   dialler                                        acceptor
//     hello: certificate, nonce, incarnation  ->
//                                             <-   challenge: certificate, nonce, signature over both nonces and certificates
//     proof: signature over the same          ->
//                                             <-   welcome: what the acceptor has to say  |  refuse: why not
//
// Each signature names its side and covers both certificates: one that somebody got by posing as the other side opens no door to a
// third (the answer to C is of no use with D), and an old one does not fit a new nonce.

#include "actors/gate/gate_format.hpp"
#include "cluster/security/certificates.hpp"

#include <functional>
#include <string>

namespace flywheel::gate {

/// What one side brings. `draw` gives nonces (os_entropy outside tests).
struct credentials {
  std::string certificate;           ///< PEM, of this process
  std::string authority;             ///< PEM, of the cluster
  std::function<result<std::string>(std::string_view bytes)> sign;
  std::function<std::uint64_t()> draw;
  std::uint64_t incarnation = 0;
};

struct peer_identity {
  identity who;
  std::uint64_t incarnation = 0;
  std::string greeting;              ///< what its hello carried for the application (JSON), not yet believed more than `who` allows
};

/// The side that dialled. hello() first, then answer() to the challenge; what comes then is welcome or refuse.
class dialler_handshake {
public:
  dialler_handshake(credentials c, std::string greeting);
  envelope hello();
  /// The proof, if the challenge comes from a node of this cluster. not_allowed otherwise: do not go on.
  result<envelope> answer(const envelope& challenge, wall_time now);
  const peer_identity& peer() const noexcept { return peer_; }

private:
  credentials mine_;
  std::string greeting_, nonce_;
  peer_identity peer_;
};

class acceptor_handshake {
public:
  explicit acceptor_handshake(credentials c) : mine_(std::move(c)) {}
  /// The challenge to a hello; not_allowed if the certificate is not of this cluster.
  result<envelope> challenge(const envelope& hello, wall_time now);
  /// Who the dialler is, once its proof holds; not_allowed otherwise.
  result<peer_identity> accept(const envelope& proof);
  envelope welcome(std::string body) const;
  envelope refuse(const error& why) const;

private:
  credentials mine_;
  std::string signed_text_;          ///< what the dialler must have signed; empty before challenge()
  std::string certificate_;
  peer_identity peer_;
};

} // namespace flywheel::gate
