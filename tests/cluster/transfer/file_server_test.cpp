// What strangers do to the port, and members who do not keep to the protocol.

#include "cluster/transfer/file_server.hpp"

#include "cluster/base/random.hpp"
#include "cluster/worker/zmq_socket.hpp"
#include "tests/cluster/transfer/link.hpp"

#include <fstream>
#include <zmq.h>

using namespace flywheel;
using namespace flywheel::transfer;

using file_server_test = linked;

namespace {

int dial(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0)
    return fd;
  ::close(fd);
  return -1;
}

std::size_t resident_bytes() {
  std::ifstream in{"/proc/self/statm"};
  std::size_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * 4096;
}

/// A member that sends what it likes.
struct raw_member {
  raw_member(const file_server& server, const curve_keys& keys) : socket(*message_socket::open(context, ZMQ_DEALER)) {
    const auto text = [&](int option, const std::string& v) { EXPECT_EQ(zmq_setsockopt(socket.get(), option, v.data(), v.size()), 0); };
    text(ZMQ_CURVE_SERVERKEY, server.public_key());
    text(ZMQ_CURVE_PUBLICKEY, keys.public_key());
    text(ZMQ_CURVE_SECRETKEY, keys.secret_key());
    const std::int64_t any = -1;
    zmq_setsockopt(socket.get(), ZMQ_MAXMSGSIZE, &any, sizeof any);
    socket.set(ZMQ_RCVTIMEO, 3000);
    EXPECT_EQ(zmq_connect(socket.get(), ("tcp://127.0.0.1:" + std::to_string(server.port())).c_str()), 0);
  }
  void send(const std::string& bytes, bool more = false) { EXPECT_GE(zmq_send(socket.get(), bytes.data(), bytes.size(), more ? ZMQ_SNDMORE : 0), 0); }
  errc answer() {
    std::string bytes(message_bytes_max, '\0');
    const int n = zmq_recv(socket.get(), bytes.data(), bytes.size(), 0);
    if (n < 0)
      return errc::timed_out;
    const auto r = reply_from(std::string_view{bytes}.substr(0, static_cast<std::size_t>(n)));
    return r ? r->problem.code : errc::internal;
  }
  message_context context;
  message_socket socket;
};

} // namespace

TEST_F(file_server_test, bytes_of_strangers_disturb_nobody) {
  random_source random{11};
  const auto before = resident_bytes();
  const std::string greeting = std::string("\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00", 12);
  for (int i = 0; i < 200; ++i) {
    const int fd = dial(server->port());
    ASSERT_GE(fd, 0);
    std::string bytes(random.below(400), '\0');
    for (auto& b : bytes)
      b = static_cast<char>(random.below(256));
    if (i % 3 == 0)
      bytes = greeting + "CURVE" + std::string(15, '\0') + '\0' + std::string(31, '\0') + bytes; // as far as the handshake
    if (i % 7 == 0)
      bytes = greeting + "NULL" + std::string(16, '\0') + '\0' + std::string(31, '\0') + std::string("\x06\xff\xff\xff\xff\xff\xff\xff\xff", 9); // a bomb of a frame
    [[maybe_unused]] const auto n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ::close(fd);
  }
  const auto c = client();
  EXPECT_TRUE(c->list(7, 0, {}));
  EXPECT_LT(resident_bytes(), before + (std::size_t{64} << 20));
}

TEST_F(file_server_test, a_plain_client_without_encryption_is_not_heard) {
  message_context context;
  auto plain = message_socket::open(context, ZMQ_DEALER);
  ASSERT_TRUE(plain);
  plain->set(ZMQ_RCVTIMEO, 500);
  ASSERT_EQ(zmq_connect(plain->get(), ("tcp://127.0.0.1:" + std::to_string(server->port())).c_str()), 0);
  request r;
  r.id = 1;
  r.lease = 7;
  const auto bytes = encode(r);
  zmq_send(plain->get(), bytes.data(), bytes.size(), ZMQ_DONTWAIT);
  char buffer[16];
  EXPECT_LT(zmq_recv(plain->get(), buffer, sizeof buffer, 0), 0);
}

TEST_F(file_server_test, a_member_that_speaks_nonsense_is_told_so_and_others_are_served) {
  raw_member m{*server, keys};
  m.send("nonsense");
  EXPECT_EQ(m.answer(), errc::protocol_violation);
  m.send("");
  EXPECT_EQ(m.answer(), errc::protocol_violation);
  request r;
  r.id = 1;
  r.lease = 7;
  m.send("part", true);
  m.send("of several", true);
  m.send(encode(r));
  EXPECT_EQ(m.answer(), errc::protocol_violation);
  random_source random{4};
  for (int i = 0; i < 300; ++i) {
    auto bytes = encode(r);
    bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
    m.send(bytes);
    EXPECT_NE(m.answer(), errc::timed_out) << "each is answered";
  }
  // A frame that is too large ends the connection, before memory is reserved for it.
  const auto before = resident_bytes();
  m.send(std::string(std::size_t{64} << 20, 'x'));
  const auto c = client();
  EXPECT_TRUE(c->list(7, 0, {}));
  EXPECT_LT(resident_bytes(), before + (std::size_t{160} << 20)) << "its own copies of it, and no more";
  EXPECT_EQ(m.answer(), errc::timed_out);
}

TEST_F(file_server_test, one_who_asks_and_does_not_listen_holds_nobody_up) {
  raw_member m{*server, keys};
  m.socket.set(ZMQ_RCVHWM, 1);
  request r;
  r.is = op::read;
  r.lease = 7;
  r.size = chunk_bytes_max;
  for (std::uint64_t i = 1; i <= 200; ++i) {
    r.id = i;
    const auto bytes = encode(r);
    zmq_send(m.socket.get(), bytes.data(), bytes.size(), ZMQ_DONTWAIT);
  }
  const auto c = client();
  const auto table = c->list(7, 0, {});
  ASSERT_TRUE(table) << table.error().to_string();
  const auto f = local("node-table");
  EXPECT_TRUE(c->fetch(7, 0, table->files[0], f.get(), {}));
}

TEST_F(file_server_test, connections_beyond_the_bound_are_closed_and_nodes_go_on) {
  server = std::move(*file_server::start({"127.0.0.1", 0, {}, 20}, book));
  const auto c = client();
  ASSERT_TRUE(c->list(7, 0, {}));
  std::vector<int> all;
  std::size_t closed = 0;
  for (int i = 0; i < 1000 && closed == 0; ++i) {
    if (const int fd = dial(server->port()); fd >= 0)
      all.push_back(fd);
    char byte = 0;
    ::poll(nullptr, 0, 5); // the server closes them on a thread of its own
    for (const int fd : all) {
      if (const auto got = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT); got == 0 || (got < 0 && errno == ECONNRESET))
        ++closed;
      else if (got == 1) // its greeting: taken out, to see the end behind it
        for (char rest[256]; ::recv(fd, rest, sizeof rest, MSG_DONTWAIT) > 0;) {
        }
    }
  }
  EXPECT_GT(closed, 0U);
  EXPECT_LE(all.size(), 60U);
  const auto served = c->list(7, 0, {});
  EXPECT_TRUE(served) << served.error().to_string();
  for (const int fd : all)
    ::close(fd);
}

TEST_F(file_server_test, what_cannot_be_listened_at_is_said) {
  EXPECT_EQ(file_server::start({"127.0.0.1", server->port(), {}, 0}, book).error().code, errc::address_in_use);
  EXPECT_EQ(file_server::start({"203.0.113.1", 0, {}, 0}, book).error().code, errc::io_failed);
  EXPECT_EQ(file_server::start({"no such host.invalid", 0, {}, 0}, book).error().code, errc::unreachable);
  EXPECT_TRUE(file_server::start({"", 0, {}, 0}, book));
  EXPECT_EQ(*tcp_endpoint("::1", 5, false), "tcp://[::1]:5");
  EXPECT_EQ(*tcp_endpoint("head.lab", 5, false), "tcp://head.lab:5");
  EXPECT_EQ(*tcp_endpoint("", 0, true), "tcp://*:*");
}
