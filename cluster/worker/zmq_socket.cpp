#include "cluster/worker/zmq_socket.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/limits.hpp"

#include <sys/un.h>
#include <zmq.h>

namespace flywheel {

message_context::message_context() : context_(zmq_ctx_new()) { FLYWHEEL_ASSERT(context_, "zmq_ctx_new fails only without memory"); }
message_context::~message_context() {
  while (zmq_ctx_term(context_) != 0 && zmq_errno() == EINTR) {
  }
}

result<message_socket> message_socket::open(const message_context& context, int type) {
  void* socket = ::zmq_socket(context.get(), type);
  if (!socket)
    return error_from_zmq("opening a ZeroMQ socket");
  message_socket s{socket};
  s.set(ZMQ_LINGER, 0);
  const std::int64_t bytes_max = limits::worker_message_bytes_max;
  zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max);
  return s;
}

message_socket::~message_socket() {
  if (socket_)
    zmq_close(socket_);
}

void message_socket::set(int option, int value) noexcept { zmq_setsockopt(socket_, option, &value, sizeof value); }

bool message_socket::send(const std::string& bytes, bool more) noexcept {
  int n = 0;
  do
    n = zmq_send(socket_, bytes.data(), bytes.size(), ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
  while (n < 0 && zmq_errno() == EINTR);
  return n >= 0;
}

error error_from_zmq(std::string what) {
  const int e = zmq_errno();
  if (e >= ZMQ_HAUSNUMERO)
    return {errc::library_failed, std::move(what) + ": " + zmq_strerror(e)};
  return error_from_errno(e, std::move(what));
}

result<std::string> ipc_address(const std::filesystem::path& socket) {
  constexpr std::size_t longest = sizeof(sockaddr_un::sun_path) - 1;
  const auto text = socket.string();
  if (text.size() > longest)
    return error{errc::too_large,
                 "a socket's path may have at most " + std::to_string(longest) + " bytes, this one has " +
                     std::to_string(text.size()),
                 text, "choose a shorter state folder (--state or $FLYWHEEL_STATE)"};
  if (text.empty())
    return error{errc::invalid_argument, "the path of the workers' socket is empty"};
  return "ipc://" + text;
}

} // namespace flywheel
