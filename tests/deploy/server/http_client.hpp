#pragma once
// A plain blocking HTTP client for tests; deliberately ours, so that it can also misbehave.

#include <arpa/inet.h>
#include <cstring>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace flywheel::testing_http {

struct reply {
  int status = 0; ///< 0: the connection ended without an answer
  std::string head, body;
};

class client {
public:
  explicit client(std::uint16_t port, int receive_buffer = 0) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0)
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    timeval limit{20, 0}; // a server that hangs is a failed test, not a hung one
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  ~client() { ::close(socket_); }
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  bool connected() const { return connected_; }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0)
        return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void finish_sending() { ::shutdown(socket_, SHUT_WR); }

  /// One answer; bytes of the next stay in the buffer. `head_only`: an answer to HEAD has no body.
  reply receive(bool head_only = false) {
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos)
      if (!more())
        return {};
    reply r;
    r.head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    r.status = std::stoi(r.head.substr(9, 3));
    const auto at = r.head.find("Content-Length: ");
    const std::size_t length = head_only || at == std::string::npos ? 0 : std::stoul(r.head.substr(at + 16));
    while (buffer_.size() < length)
      if (!more())
        return {};
    r.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    return r;
  }
  /// True if the server closed the connection (and sent nothing more).
  bool closed() { return buffer_.empty() && !more(); }

  reply ask(std::string_view method, std::string_view target, std::string_view body = {}, std::string_view headers = {}) {
    std::string text{method};
    text.append(" ").append(target).append(" HTTP/1.1\r\nHost: test\r\n").append(headers);
    text.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n\r\n").append(body);
    return send(text) ? receive(method == "HEAD") : reply{};
  }

private:
  bool more() {
    char chunk[65536];
    const auto n = ::recv(socket_, chunk, sizeof chunk, 0);
    if (n <= 0)
      return false;
    buffer_.append(chunk, static_cast<std::size_t>(n));
    return true;
  }
  int socket_;
  bool connected_ = false;
  std::string buffer_;
};

} // namespace flywheel::testing_http
