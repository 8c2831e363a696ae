#include "actors/gate/tls_transport_actor.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <caf/io/all.hpp>
#include <caf/openssl/all.hpp>

#include <charconv>
#include <dlfcn.h>
#include <memory>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#if CAFX_V17
#include <caf/io/basp/header.hpp>
// CAF 0.17.6 trusts a header's length and the lack of a payload: a member of the cluster could make a node reserve 4 GiB, or end it, with
// 32 bytes. This definition is found before the library's own (measured: caf.md 3.5). TLS remains the border; this is behind it.
namespace caf::io::basp {
bool valid(const header& h) {
  constexpr std::uint32_t payload_max = 4 * flywheel::limits::gate_envelope_bytes_max;
  if (h.payload_len > payload_max)
    return false;
  switch (h.operation) {
  case message_type::server_handshake: return h.operation_data != 0 && h.payload_len != 0;
  case message_type::client_handshake: return h.source_actor == 0 && h.dest_actor == 0 && h.payload_len != 0;
  case message_type::direct_message: return h.dest_actor != 0 && h.payload_len != 0;
  case message_type::routed_message: return false; // nobody routes through a third node here
  case message_type::monitor_message: return h.payload_len != 0 && h.operation_data == 0;
  case message_type::down_message: return h.source_actor != 0 && h.dest_actor == 0 && h.payload_len != 0 && h.operation_data == 0;
  case message_type::heartbeat: return h.source_actor == 0 && h.dest_actor == 0 && h.payload_len == 0 && h.operation_data == 0;
  default: return false;
  }
}
} // namespace caf::io::basp

// OpenSSL keeps errors in a queue of the thread, and SSL_get_error takes an old one for this operation's. CAF serves all connections in
// one thread and never empties the queue: whenever one peer hung up without a goodbye, or sent garbage, the next healthy connection that
// had nothing more to read was closed (measured: each client that left took a node's connection with it). These definitions are found
// before the library's own.
namespace {
template <class Function> Function* next_definition(const char* name) { return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name)); }
} // namespace
extern "C" {
int SSL_read(SSL* s, void* bytes, int size) {
  static auto* const next = next_definition<decltype(SSL_read)>("SSL_read");
  ::ERR_clear_error();
  return next(s, bytes, size);
}
int SSL_write(SSL* s, const void* bytes, int size) {
  static auto* const next = next_definition<decltype(SSL_write)>("SSL_write");
  ::ERR_clear_error();
  return next(s, bytes, size);
}
int SSL_accept(SSL* s) {
  static auto* const next = next_definition<decltype(SSL_accept)>("SSL_accept");
  ::ERR_clear_error();
  return next(s);
}
int SSL_connect(SSL* s) {
  static auto* const next = next_definition<decltype(SSL_connect)>("SSL_connect");
  ::ERR_clear_error();
  return next(s);
}
}
#endif

namespace flywheel {

namespace {
constexpr std::chrono::milliseconds probe_wait{2000};

struct address_list {
  addrinfo* first = nullptr;
  ~address_list() {
    if (first != nullptr)
      ::freeaddrinfo(first);
  }
};
} // namespace

result<identity> use_tls(caf::actor_system_config& config, const tls_transport_options& options, wall_time now, std::optional<role> wanted) {
  FLYWHEEL_TRY(auto who, check_tls_files(options.files, now, wanted));
  config.load<caf::io::middleman>();
  config.load<caf::openssl::manager>();
  cafx::set_liveness(config, options.heartbeat, options.dead_after);
#if CAFX_V17 // members, because set() only works for registered options
  config.openssl_certificate = options.files.certificate.string();
  config.openssl_key = options.files.key.string();
  config.openssl_cafile = options.files.authority.string();
#else
  cafx::set(config, "openssl.certificate", options.files.certificate.string());
  cafx::set(config, "openssl.key", options.files.key.string());
  cafx::set(config, "openssl.cafile", options.files.authority.string());
#endif
  return who;
}

result<std::uint16_t> open_port(const gate_agent& gate, const std::string& address, std::uint16_t port) {
  const gate_port facade{gate};
  const auto opened = caf::openssl::publish(facade, port, address.empty() ? nullptr : address.c_str(), true); // reuse: a head that comes back finds its port in TIME_WAIT
  if (!opened)
    return error{errc::address_in_use, "the cluster's port does not open: " + cafx::render(opened.error()),
                 (address.empty() ? "*" : address) + ":" + std::to_string(port), "choose another with --listen, or port 0 for any free one"};
  return *opened;
}

status probe(const std::string& host, std::uint16_t port, std::chrono::milliseconds wait) {
  const auto where = host + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  address_list found;
  if (const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found.first); failed != 0)
    return error{errc::unreachable, "the name does not resolve: " + std::string{::gai_strerror(failed)}, where, "check the host's name"};
  error last{errc::unreachable, "no address", where};
  for (const auto* a = found.first; a != nullptr; a = a->ai_next) {
    const int fd = ::socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
      continue;
    int problem = 0;
    if (::connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
      problem = errno;
      if (problem == EINPROGRESS) {
        pollfd p{fd, POLLOUT, 0};
        const int ready = ::poll(&p, 1, static_cast<int>(wait.count()));
        socklen_t size = sizeof problem;
        if (ready == 0)
          problem = ETIMEDOUT;
        else if (ready < 0 || ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size) != 0)
          problem = errno;
      }
    }
    ::close(fd);
    if (problem == 0)
      return success();
    last = error{errc::unreachable, error_from_errno(problem, "connect").what, where, "is the head running there, and is the port open?"};
  }
  return last;
}

result<caf::actor> dial_port(caf::actor_system& system, const std::string& host, std::uint16_t port) {
  FLYWHEEL_CHECK(probe(host, port, probe_wait));
  const auto remote = caf::openssl::remote_actor<gate_port>(system, host, port);
  if (!remote)
    return error{errc::not_allowed, "the connection was closed before a gate answered: " + cafx::render(remote.error()), host + ":" + std::to_string(port),
                 "both sides need certificates of one authority, in their time: flywheel certs show"};
  return caf::actor_cast<caf::actor>(*remote);
}

result<std::pair<std::string, std::uint16_t>> parse_address(const std::string& text) {
  const auto colon = text.rfind(':');
  std::uint16_t port = 0;
  const auto* end = text.data() + text.size();
  if (colon == std::string::npos || colon == 0)
    return error{errc::invalid_argument, "'" + printable(text, 80) + "' is not HOST:PORT", {}, "for example node1.lab:7400"};
  const auto [stop, problem] = std::from_chars(text.data() + colon + 1, end, port);
  if (problem != std::errc{} || stop != end)
    return error{errc::invalid_argument, "'" + printable(text.substr(colon + 1), 20) + "' is not a port", printable(text, 80), "a port is a number from 0 to 65535"};
  auto host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  if (host.empty())
    return error{errc::invalid_argument, "'" + printable(text, 80) + "' names no host", {}, "for example node1.lab:7400"};
  return std::pair{host, port};
}

} // namespace flywheel
