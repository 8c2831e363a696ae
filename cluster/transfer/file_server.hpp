#pragma once
// The head's file server: a ZeroMQ ROUTER that only nodes of the cluster reach (CURVE; a ZAP handler admits the keys in the grant book and no
// others, and each request is looked up again, so that a node that left is refused on a connection it still has). One thread.
//
// Bounds, each against a hostile peer: message_bytes_max a frame, before memory is reserved; 5 s for a handshake; messages_waiting_max in each
// direction a connection; with connections_max connections all are closed and those who mean it dial again; a peer that does not read is not waited for.

#include "cluster/transfer/curve_keys.hpp"
#include "cluster/transfer/file_desk.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace flywheel::transfer {

inline constexpr int messages_waiting_max = 16;

struct server_options {
  std::string address;      ///< host or IP address to listen at; empty: every one of this machine's
  std::uint16_t port = 0;   ///< 0: any free one
  desk_rule desk;
  int connections_max = 0;  ///< 0: half of the descriptors that this process may have, at most 4096
};

class file_server {
public:
  /// address_in_use, permission_denied, io_failed (the address is not this machine's), unsupported.
  static result<std::unique_ptr<file_server>> start(const server_options& options, std::shared_ptr<const grant_book> book);
  std::uint16_t port() const noexcept;
  const std::string& public_key() const noexcept;
  ~file_server();

private:
  file_server();
  struct impl;
  std::unique_ptr<impl> impl_;
};

/// "tcp://..." for a host and port, IPv6 addresses in brackets. With `numeric` a name is resolved first, as binding needs: unreachable if it
/// has no address.
result<std::string> tcp_endpoint(const std::string& host, std::uint16_t port, bool numeric);

} // namespace flywheel::transfer
