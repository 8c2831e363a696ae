#pragma once
// A file server and a node's client in one process, with something in between that breaks connections.

#include "cluster/transfer/file_server.hpp"
#include "cluster/transfer/transfer_client.hpp"
#include "tests/cluster/transfer/places.hpp"

#include <arpa/inet.h>
#include <atomic>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace flywheel::transfer {

/// Carries TCP connections to a port of this machine, and cuts each after `bytes` from the server, `cuts` times.
class cutter {
public:
  cutter(std::uint16_t to, std::size_t bytes, int cuts) : to_(to), bytes_(bytes), cuts_(cuts) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    EXPECT_EQ(::listen(listener_, 8), 0);
    socklen_t length = sizeof at;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &length);
    port = ntohs(at.sin_port);
    thread_ = std::thread{[this] { run(); }};
  }
  ~cutter() {
    stop_ = true;
    thread_.join();
    ::close(listener_);
  }
  cutter(const cutter&) = delete;
  cutter& operator=(const cutter&) = delete;
  std::uint16_t port = 0;
  std::atomic<int> cut{0};

private:
  void run() {
    int in = -1, out = -1;
    std::size_t carried = 0;
    const auto drop = [&] {
      ::close(in);
      ::close(out);
      in = out = -1;
      carried = 0;
    };
    std::string buffer(64 << 10, '\0');
    while (!stop_) {
      pollfd items[3] = {{listener_, POLLIN, 0}, {in, POLLIN, 0}, {out, POLLIN, 0}};
      ::poll(items, 3, 20);
      if ((items[0].revents & POLLIN) != 0) {
        if (in >= 0)
          drop();
        in = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        out = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_port = htons(to_);
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(out, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0)
          drop();
        continue;
      }
      for (const bool up : {true, false}) {
        if (in < 0 || items[up ? 1 : 2].revents == 0)
          continue;
        const auto got = ::recv(up ? in : out, buffer.data(), buffer.size(), 0);
        if (got <= 0 || ::send(up ? out : in, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) {
          drop();
          break;
        }
        carried += static_cast<std::size_t>(got);
        if (carried > bytes_ && cut < cuts_) {
          ++cut;
          drop();
          break;
        }
      }
    }
    if (in >= 0)
      drop();
  }
  std::uint16_t to_;
  std::size_t bytes_;
  int cuts_, listener_ = -1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// Node "a" holds lease 7: input 0 is the file head/train.fwt, input 1 the folder head/more; state folder "t" and result "t.model" in head/job.
struct linked : ::testing::Test {
  linked() {
    p.write("head/train.fwt", big(0));
    p.write("head/more/x", "xx");
    p.write("head/more/sub/y", "");
    std::filesystem::create_directories(p.root / "head/job");
    auto started = file_server::start({"127.0.0.1", 0, {}, 0}, book);
    EXPECT_TRUE(started) << (started ? "" : started.error().to_string());
    server = std::move(*started);
    book->admit("a", keys.public_key());
    grant_to("a", 7);
  }
  void grant_to(const std::string& node, std::uint64_t lease) const {
    book->put(lease, {node, "g/t#1", {p.root / "head/train.fwt", p.root / "head/more"}, p.root / "head/job", {"t"}, {"t.model"}});
  }
  static std::string big(int which) {
    std::string bytes(5'300'000, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<char>((i * 2654435761u + static_cast<unsigned>(which)) >> 13);
    return bytes;
  }
  static curve_keys new_keys() {
    auto k = curve_keys::make();
    EXPECT_TRUE(k);
    return std::move(*k);
  }
  std::unique_ptr<transfer_client> client(std::uint16_t port, const curve_keys& own) const {
    client_options o;
    o.endpoint = "tcp://127.0.0.1:" + std::to_string(port);
    o.server_key = server->public_key();
    o.ask_again = std::chrono::milliseconds{200};
    o.unconnected_for = std::chrono::seconds{2};
    auto c = transfer_client::connect(o, own, system_clock());
    EXPECT_TRUE(c);
    return std::move(*c);
  }
  std::unique_ptr<transfer_client> client() const { return client(server->port(), keys); }
  file_handle local(const std::string& name) const {
    auto f = open_file(p.root / name, O_RDWR | O_CREAT);
    EXPECT_TRUE(f);
    return std::move(*f);
  }
  places p;
  std::shared_ptr<grant_book> book = std::make_shared<grant_book>();
  curve_keys keys = new_keys();
  std::unique_ptr<file_server> server;
};

} // namespace flywheel::transfer
