#include "actors/client/control_client.hpp"

#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"
#include "cluster/journal/state_directory.hpp"

#include <zmq.hpp>

namespace flywheel {

using nlohmann::json;

struct control_client::impl {
  zmq::context_t context{1};
  zmq::socket_t socket{context, zmq::socket_type::dealer};
  std::filesystem::path state;
};

control_client::control_client() : impl_(std::make_unique<impl>()) {}
control_client::control_client(control_client&&) noexcept = default;
control_client& control_client::operator=(control_client&&) noexcept = default;
control_client::~control_client() = default;

namespace {

error nobody(const std::filesystem::path& state) {
  return {errc::unreachable, "no Flywheel process owns " + state.string(), {},
          "start one: flywheel serve, or a cluster: flywheel up (or run the goal again: flywheel run GOAL)"};
}

} // namespace

result<control_client> control_client::connect(const std::filesystem::path& state) {
  if (owner_pid(state) == 0)
    return nobody(state);
  control_client c;
  c.impl_->state = state;
  try {
    c.impl_->socket.set(zmq::sockopt::linger, 0);
    c.impl_->socket.connect("ipc://" + state_layout{state}.control_socket().string());
  } catch (const zmq::error_t& z) {
    return error_from_errno(z.num(), "connecting to the owner of " + state.string());
  }
  return c;
}

result<json> control_client::ask(const json& request, nanoseconds wait) {
  auto& s = *impl_;
  const auto until = system_clock().mono() + wait;
  try {
    s.socket.send(zmq::buffer(control::encode(request)), zmq::send_flags::none);
    for (;;) {
      zmq::pollitem_t item{s.socket.handle(), 0, ZMQ_POLLIN, 0};
      // Wake up now and then only to see whether the owner is still there: its death sends nothing.
      if (zmq::poll(&item, 1, std::chrono::milliseconds{500}) > 0) {
        zmq::message_t reply;
        if (!s.socket.recv(reply))
          continue;
        FLYWHEEL_TRY(json m, control::decode(reply.to_string_view()));
        FLYWHEEL_CHECK(control::outcome(m));
        return m;
      }
      if (owner_pid(s.state) == 0)
        return nobody(s.state);
      if (system_clock().mono() > until)
        return error{errc::timed_out, "the owner of " + s.state.string() + " did not answer"};
    }
  } catch (const zmq::error_t& z) {
    return error_from_errno(z.num(), "speaking with the owner of " + s.state.string());
  }
}

} // namespace flywheel
