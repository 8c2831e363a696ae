#include "cluster/transfer/file_server.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"
#include "cluster/worker/zmq_socket.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <netdb.h>
#include <optional>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <zmq.h>

namespace flywheel::transfer {
namespace {

constexpr int handshake_ms = 5000;
constexpr const char* monitor_address = "inproc://connections";
constexpr const char* zap_address = "inproc://zeromq.zap.01"; // ZeroMQ RFC 27: where libzmq asks who may come in

/// One part of a message, freed with it.
class frame {
public:
  frame() { zmq_msg_init(&m_); }
  ~frame() { zmq_msg_close(&m_); }
  frame(const frame&) = delete;
  frame& operator=(const frame&) = delete;
  bool receive(void* socket) {
    int n = 0;
    do
      n = zmq_msg_recv(&m_, socket, ZMQ_DONTWAIT);
    while (n < 0 && zmq_errno() == EINTR);
    return n >= 0;
  }
  std::string_view bytes() { return {static_cast<const char*>(zmq_msg_data(&m_)), zmq_msg_size(&m_)}; }
  bool more() { return zmq_msg_more(&m_) != 0; }
  /// What the ZAP handler called the peer; empty if nobody did.
  std::string user() {
    const char* id = zmq_msg_gets(&m_, "User-Id");
    return id == nullptr ? std::string{} : std::string{id};
  }

private:
  zmq_msg_t m_;
};

/// Every part of one message; too many of them are taken out and dropped.
std::vector<std::string> receive_all(void* socket, std::size_t parts_max) {
  std::vector<std::string> parts;
  for (bool more = true; more;) {
    frame f;
    if (!f.receive(socket))
      return {};
    more = f.more();
    if (parts.size() <= parts_max)
      parts.emplace_back(f.bytes());
  }
  return parts;
}

} // namespace

/// Keeps the number of connections in bounds: ZeroMQ itself would accept until the process has no descriptors left. There is no way to close
/// one of them, so at the bound the port is closed with all of them and opened again: nodes dial anew and go on where they were.
class door {
public:
  /// The bound endpoint, port included.
  explicit door(std::string endpoint = {}, int open_max = 0) : endpoint_(std::move(endpoint)), open_max_(open_max) {}
  void changed(void* router, int by) {
    open_ = std::max(0, open_ + by);
    if (listening_ && open_ >= open_max_ && zmq_unbind(router, endpoint_.c_str()) == 0) {
      listening_ = false;
      open_ = 0;
    }
  }
  /// To be called while it is not open: ZeroMQ closes the port in its own time.
  void open(void* router) { listening_ = zmq_bind(router, endpoint_.c_str()) == 0; }
  bool is_open() const noexcept { return listening_; }

private:
  std::string endpoint_;
  int open_max_ = 0, open_ = 0;
  bool listening_ = true;
};

struct file_server::impl {
  explicit impl(std::shared_ptr<const grant_book> b, curve_keys k, desk_rule rule) : book(std::move(b)), keys(std::move(k)), desk(book, rule, [this] { return quitting.load(); }) {}
  std::shared_ptr<const grant_book> book;
  curve_keys keys;
  file_desk desk;
  message_context context;
  std::optional<message_socket> zap, router, monitor;
  door entrance;
  std::uint16_t port = 0;
  int stop = -1;
  std::atomic<bool> quitting{false};
  std::thread thread;

  void run();
  void admit_one();
  void serve_one();
  void watch_connections();
};

/// ZAP: version, request id, domain, address, identity, mechanism, the client's public key (32 bytes). The answer calls the peer by its key:
/// whether the node is still there is looked up with each request.
void file_server::impl::admit_one() {
  auto parts = receive_all(zap->get(), 16);
  if (parts.size() < 2)
    return;
  std::array<char, 41> text{};
  bool known = false;
  if (parts.size() == 7 && parts[0] == "1.0" && parts[5] == "CURVE" && parts[6].size() == 32 &&
      zmq_z85_encode(text.data(), reinterpret_cast<const std::uint8_t*>(parts[6].data()), 32) != nullptr)
    known = book->node_of(text.data()).has_value();
  const std::array<std::string, 6> answer{"1.0", parts[1], known ? "200" : "400", known ? "" : "not a node of this cluster", known ? text.data() : "", ""};
  for (std::size_t i = 0; i < answer.size(); ++i)
    zap->send(answer[i], i + 1 < answer.size());
}

void file_server::impl::serve_one() {
  frame peer;
  if (!peer.receive(router->get()) || !peer.more())
    return;
  frame body;
  if (!body.receive(router->get()))
    return;
  const auto key = body.user();
  bool one_part = !body.more();
  for (bool more = !one_part; more;) {
    frame rest;
    if (!rest.receive(router->get()))
      break;
    more = rest.more();
  }
  reply out;
  const auto node = book->node_of(key);
  const auto asked = one_part ? request_from(body.bytes()) : result<request>{error{errc::protocol_violation, "a message of several parts"}};
  if (!node)
    out.problem = error{errc::stale_epoch, "this key is not one of a node that is in the cluster now"};
  else if (!asked)
    out.problem = asked.error();
  else
    out = desk.carry_out(*node, *asked);
  if (!node && asked)
    out.id = asked->id;
  if (router->send(std::string{peer.bytes()}, true))
    router->send(encode(out));
}

/// Each event is two parts: number and value, then the address.
void file_server::impl::watch_connections() {
  for (auto parts = receive_all(monitor->get(), 2); parts.size() == 2; parts = receive_all(monitor->get(), 2)) {
    std::uint16_t event = 0;
    if (parts[0].size() >= sizeof event)
      std::memcpy(&event, parts[0].data(), sizeof event);
    entrance.changed(router->get(), event == ZMQ_EVENT_ACCEPTED ? 1 : -1);
  }
}

void file_server::impl::run() {
  for (;;) {
    std::array<zmq_pollitem_t, 4> items{{{nullptr, stop, ZMQ_POLLIN, 0}, {zap->get(), 0, ZMQ_POLLIN, 0}, {monitor->get(), 0, ZMQ_POLLIN, 0}, {router->get(), 0, ZMQ_POLLIN, 0}}};
    if (zmq_poll(items.data(), static_cast<int>(items.size()), entrance.is_open() ? -1 : 20) < 0 && zmq_errno() != EINTR)
      return;
    if (!entrance.is_open())
      entrance.open(router->get());
    if (items[0].revents != 0)
      return;
    if (items[1].revents != 0)
      admit_one();
    if (items[2].revents != 0)
      watch_connections();
    if (items[3].revents != 0)
      serve_one();
  }
}

file_server::file_server() = default;

result<std::unique_ptr<file_server>> file_server::start(const server_options& options, std::shared_ptr<const grant_book> book) {
  FLYWHEEL_TRY(auto keys, curve_keys::make());
  std::unique_ptr<file_server> s{new file_server};
  s->impl_ = std::make_unique<impl>(std::move(book), std::move(keys), options.desk);
  auto& i = *s->impl_;
  i.stop = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (i.stop < 0)
    return error_from_errno(errno, "eventfd");
  // The handler before the port: without one ZeroMQ lets everybody in.
  FLYWHEEL_TRY(auto zap, message_socket::open(i.context, ZMQ_REP));
  i.zap.emplace(std::move(zap));
  if (zmq_bind(i.zap->get(), zap_address) != 0)
    return error_from_zmq("opening the door for keys");
  FLYWHEEL_TRY(auto router, message_socket::open(i.context, ZMQ_ROUTER));
  i.router.emplace(std::move(router));
  const std::int64_t bytes_max = message_bytes_max;
  const bool set = zmq_setsockopt(i.router->get(), ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0 &&
                   zmq_setsockopt(i.router->get(), ZMQ_CURVE_SECRETKEY, i.keys.secret_key().data(), i.keys.secret_key().size()) == 0 &&
                   zmq_setsockopt(i.router->get(), ZMQ_ZAP_DOMAIN, "flywheel", 8) == 0;
  i.router->set(ZMQ_CURVE_SERVER, 1);
  i.router->set(ZMQ_HANDSHAKE_IVL, handshake_ms);
  i.router->set(ZMQ_RCVHWM, messages_waiting_max);
  i.router->set(ZMQ_SNDHWM, messages_waiting_max);
  i.router->set(ZMQ_ROUTER_MANDATORY, 1); // who has gone, or does not read, is told by send
  i.router->set(ZMQ_IPV6, 1);
  i.router->set(ZMQ_HEARTBEAT_IVL, 10'000);
  i.router->set(ZMQ_HEARTBEAT_TIMEOUT, 30'000); // a peer that fell silent does not hold its buffers for ever
  int as_server = 0;
  std::size_t length = sizeof as_server;
  if (!set || zmq_getsockopt(i.router->get(), ZMQ_CURVE_SERVER, &as_server, &length) != 0 || as_server != 1)
    return error_from_zmq("setting up encryption");
  FLYWHEEL_TRY(auto monitor, message_socket::open(i.context, ZMQ_PAIR));
  i.monitor.emplace(std::move(monitor));
  i.monitor->set(ZMQ_RCVHWM, 0);
  if (zmq_socket_monitor(i.router->get(), monitor_address, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED) != 0 || zmq_connect(i.monitor->get(), monitor_address) != 0)
    return error_from_zmq("watching connections");
  FLYWHEEL_TRY(const auto endpoint, tcp_endpoint(options.address, options.port, true));
  if (zmq_bind(i.router->get(), endpoint.c_str()) != 0) {
    const int e = zmq_errno();
    if (e == ENODEV || e == EADDRNOTAVAIL)
      return error{errc::io_failed, "not an address of this machine", endpoint};
    return error_from_zmq("listening at " + endpoint);
  }
  std::array<char, 256> bound{};
  length = bound.size();
  if (zmq_getsockopt(i.router->get(), ZMQ_LAST_ENDPOINT, bound.data(), &length) != 0)
    return error_from_zmq("asking for the port");
  const std::string_view at{bound.data()};
  i.port = static_cast<std::uint16_t>(std::stoul(std::string{at.substr(at.rfind(':') + 1)}));
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  const auto most = static_cast<int>(std::min<rlim_t>(descriptors.rlim_cur / 2, 4096));
  i.entrance = door{bound.data(), options.connections_max > 0 ? options.connections_max : most};
  i.thread = std::thread{[&i] { i.run(); }};
  return s;
}

std::uint16_t file_server::port() const noexcept { return impl_->port; }
const std::string& file_server::public_key() const noexcept { return impl_->keys.public_key(); }

file_server::~file_server() {
  if (!impl_)
    return;
  if (impl_->thread.joinable()) {
    impl_->quitting = true;
    const std::uint64_t one = 1;
    FLYWHEEL_ASSERT(::write(impl_->stop, &one, sizeof one) == sizeof one, "an eventfd takes a number");
    impl_->thread.join();
  }
  if (impl_->stop >= 0)
    ::close(impl_->stop);
}

result<std::string> tcp_endpoint(const std::string& host, std::uint16_t port, bool numeric) {
  auto at = host;
  if (numeric && !at.empty()) {
    addrinfo wanted{}, *found = nullptr;
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = AI_PASSIVE;
    if (const int failed = ::getaddrinfo(at.c_str(), nullptr, &wanted, &found); failed != 0)
      return error{errc::unreachable, "no address is known for " + printable(at) + ": " + ::gai_strerror(failed)};
    std::array<char, NI_MAXHOST> text{};
    const int failed = ::getnameinfo(found->ai_addr, found->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
    ::freeaddrinfo(found);
    if (failed != 0)
      return error{errc::unreachable, "no address is known for " + printable(at) + ": " + ::gai_strerror(failed)};
    at = text.data();
  }
  if (at.empty())
    at = "*";
  if (at.find(':') != std::string::npos)
    at = "[" + at + "]";
  return "tcp://" + at + ":" + (port == 0 ? "*" : std::to_string(port));
}

} // namespace flywheel::transfer
