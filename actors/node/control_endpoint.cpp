#include "actors/node/control_endpoint.hpp"

#include "actors/node/control_desk.hpp"
#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"
#include "cluster/journal/state_directory.hpp"

#include <zmq.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <thread>

namespace flywheel {

using nlohmann::json;

namespace {

/// A terminal that waits for the journal to grow.
struct waiter {
  std::string identity;
  std::uint64_t after = 0;
  mono_time until{};
};

/// A field as text; empty if absent or of another type. What is missing is refused by whoever needs it.
std::string text_of(const json& m, const char* key) {
  const auto i = m.find(key);
  return i != m.end() && i->is_string() ? i->get<std::string>() : std::string{};
}
std::uint64_t number_of(const json& m, const char* key) {
  const auto i = m.find(key);
  return i != m.end() && i->is_number_unsigned() ? i->get<std::uint64_t>() : 0;
}

} // namespace

struct control_endpoint::impl {
  node* owner = nullptr;
  std::optional<control_desk> desk;
  zmq::context_t context{1};
  zmq::socket_t socket;
  int wakeup = -1; ///< eventfd: the journal grew, or the endpoint closes
  std::atomic<bool> closing{false};
  std::vector<waiter> waiters;
  std::thread thread;

  void ring() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(wakeup, &one, sizeof one);
  }

  void send(const std::string& identity, const json& reply) {
    const auto bytes = control::encode(reply);
    socket.send(zmq::buffer(identity), zmq::send_flags::sndmore);
    socket.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  }

  void receive() {
    for (;;) {
      zmq::message_t identity, body;
      if (!socket.recv(identity, zmq::recv_flags::dontwait))
        return;
      if (!identity.more() || !socket.recv(body))
        continue;
      const std::string from = identity.to_string();
      auto m = control::decode(body.to_string_view());
      if (!m) {
        send(from, control::failure(m.error()));
      } else if (text_of(*m, "op") == "wait") {
        const auto ms = std::min<std::uint64_t>(number_of(*m, "timeout_ms"), 60'000);
        waiters.push_back({from, number_of(*m, "after"),
                           system_clock().mono() + std::chrono::milliseconds{static_cast<std::int64_t>(ms)}});
      } else {
        send(from, desk->carry_out(*m, {}));
      }
    }
  }

  void answer_waiters() {
    const auto last = owner->log().last_seq();
    const auto now = system_clock().mono();
    std::erase_if(waiters, [&](const waiter& w) {
      if (last <= w.after && now < w.until && !closing)
        return false;
      send(w.identity, {{"ok", true}, {"seq", last}});
      return true;
    });
  }

  std::chrono::milliseconds patience() const {
    auto soonest = std::chrono::milliseconds{-1};
    const auto now = system_clock().mono();
    for (const auto& w : waiters) {
      const auto left = std::max(std::chrono::duration_cast<std::chrono::milliseconds>(w.until - now),
                                 std::chrono::milliseconds{0}) + std::chrono::milliseconds{1};
      soonest = soonest.count() < 0 ? left : std::min(soonest, left);
    }
    return soonest;
  }

  void serve() {
    while (!closing) {
      zmq::pollitem_t items[] = {{socket.handle(), 0, ZMQ_POLLIN, 0}, {nullptr, wakeup, ZMQ_POLLIN, 0}};
      try {
        zmq::poll(items, 2, patience());
        if (items[1].revents != 0) {
          std::uint64_t count = 0;
          [[maybe_unused]] const auto n = ::read(wakeup, &count, sizeof count);
        }
        receive();
        answer_waiters();
      } catch (const zmq::error_t& e) {
        if (e.num() != EINTR && e.num() != EHOSTUNREACH && e.num() != EAGAIN)
          return; // the socket itself is gone
      }
    }
  }
};

control_endpoint::control_endpoint() : impl_(std::make_unique<impl>()) {}

result<std::unique_ptr<control_endpoint>> control_endpoint::open(node& n, std::function<void()> stop_requested) {
  std::unique_ptr<control_endpoint> e{new control_endpoint};
  auto& s = *e->impl_;
  s.owner = &n;
  s.desk.emplace(n, std::move(stop_requested));
  const auto path = state_layout{n.state()}.control_socket();
  try {
    s.socket = zmq::socket_t{s.context, zmq::socket_type::router};
    s.socket.set(zmq::sockopt::linger, 200);
    s.socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(control::message_bytes_max));
    s.socket.bind("ipc://" + path.string());
  } catch (const zmq::error_t& z) {
    return error_from_errno(z.num(), "listening for other terminals", path.string());
  }
  s.wakeup = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (s.wakeup < 0)
    return error_from_errno(errno, "eventfd");
  n.on_commit([&s] { s.ring(); });
  s.thread = std::thread{[&s] { s.serve(); }};
  return e;
}

control_endpoint::~control_endpoint() {
  auto& s = *impl_;
  s.closing = true;
  if (s.thread.joinable()) {
    s.ring();
    s.thread.join();
  }
  if (s.wakeup >= 0)
    ::close(s.wakeup);
}

} // namespace flywheel
