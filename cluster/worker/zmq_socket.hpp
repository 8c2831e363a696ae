#pragma once
// The few ZeroMQ calls that pool and worker share, with errors as values. A socket belongs to one thread at a time.

#include "cluster/base/error.hpp"

#include <filesystem>
#include <string>
#include <utility>

namespace flywheel {

class message_context {
public:
  message_context();
  ~message_context(); ///< waits for the sockets' lingering messages
  message_context(const message_context&) = delete;
  message_context& operator=(const message_context&) = delete;
  void* get() const noexcept { return context_; }

private:
  void* context_;
};

class message_socket {
public:
  /// `type` is ZMQ_ROUTER, ...; bounded message size, no lingering unless set.
  static result<message_socket> open(const message_context& context, int type);
  message_socket(message_socket&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}
  message_socket& operator=(message_socket&&) = delete;
  ~message_socket();
  void* get() const noexcept { return socket_; }
  void set(int option, int value) noexcept;
  /// True if it was queued; false if the peer is gone or its queue is full. Never blocks.
  bool send(const std::string& bytes, bool more = false) noexcept;

private:
  explicit message_socket(void* socket) : socket_(socket) {}
  void* socket_;
};

/// zmq_errno() translated; `what` names the call and the object.
error error_from_zmq(std::string what);

/// "ipc://..." for a socket file; too_large if the system cannot hold so long a path.
result<std::string> ipc_address(const std::filesystem::path& socket);

} // namespace flywheel
