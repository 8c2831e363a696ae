#pragma once
// A TCP socket that says why before it hangs up. RESTinio closes the connection without a word when a request is not HTTP,
// breaks a limit or comes too slowly; this socket then answers 400, 413 or 408 and gives the client a moment to read it.
// Only model_server_restinio.cpp includes this.

#include "cluster/base/limits.hpp"

#include <asio.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace flywheel {

/// The sockets of an io_context on which a connection reads. RESTinio's connections refer to its acceptor when they die, so
/// whoever ends a server must end its connections first, and RESTinio has no list of them.
class open_sockets : public asio::execution_context::service {
  using socket = asio::ip::tcp::socket;

public:
  using key_type = open_sockets;
  inline static asio::execution_context::id id;
  explicit open_sockets(asio::execution_context& context) : asio::execution_context::service(context) {}

  void add(socket* s) {
    const std::scoped_lock lock{mutex_};
    sockets_.insert(s);
  }
  void remove(socket* s) noexcept {
    const std::scoped_lock lock{mutex_};
    sockets_.erase(s);
  }
  /// Closes all, which ends what is pending on them. False if there were none. Only while no thread runs the io_context.
  bool close_all() {
    const std::scoped_lock lock{mutex_};
    asio::error_code ignored;
    for (auto* s : sockets_)
      s->close(ignored);
    return !sockets_.empty();
  }

private:
  void shutdown() override {}
  std::mutex mutex_;
  std::unordered_set<socket*> sockets_;
};

class polite_socket : public asio::ip::tcp::socket {
  using base = asio::ip::tcp::socket;

public:
  explicit polite_socket(asio::io_context& io) : base(io), open_(&asio::use_service<open_sockets>(io)) {}
  /// From the acceptor's hand into a connection; the first read there enters it into open_sockets.
  polite_socket(polite_socket&& other) : base(std::move(static_cast<base&>(other))), open_(other.open_) {}
  polite_socket& operator=(polite_socket&&) = delete;
  ~polite_socket() {
    if (entered_)
      open_->remove(this);
  }

  template <class Buffers, class Handler> void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (!std::exchange(entered_, true))
      open_->add(this);
    const asio::mutable_buffer into = *asio::buffer_sequence_begin(buffers);
    auto executor = asio::get_associated_executor(handler);
    // The handler owns the connection, and the connection owns this socket.
    base::async_read_some(buffers, asio::bind_executor(executor, [this, into, h = std::forward<Handler>(handler)](
                                                                     const asio::error_code& ec, std::size_t n) mutable {
      if (n > 0)
        heard_ = true;
      last_read_ = {static_cast<const char*>(into.data()), n};
      in_handler_ = true;
      auto keep = std::move(h);
      keep(ec, n);
      in_handler_ = false;
      last_read_ = {};
    }));
  }
  template <class Buffers, class Handler> void async_write_some(const Buffers& buffers, Handler&& handler) {
    heard_ = false;
    base::async_write_some(buffers, std::forward<Handler>(handler));
  }

  /// Called by the connection's close() only, before close().
  void shutdown(shutdown_type what, asio::error_code& ec) {
    if (heard_ && is_open() && say_goodbye())
      return;
    base::shutdown(what, ec);
  }

private:
  /// Bytes that the client may still send while it reads our answer, and for how long.
  static constexpr std::size_t linger_bytes_max = 16 * limits::mib;
  static constexpr std::chrono::seconds linger_time_max{1};
  static constexpr int lingering_max = 64;
  inline static std::atomic<int> lingering_count{0};

  /// Reads and forgets what still comes: closing with unread bytes would reset the connection and destroy the answer.
  struct lingering : std::enable_shared_from_this<lingering> {
    base socket;
    asio::steady_timer timer;
    std::array<char, 16384> bin;
    std::size_t left = linger_bytes_max;
    explicit lingering(base&& s) : socket(std::move(s)), timer(socket.get_executor(), linger_time_max) {}
    ~lingering() { lingering_count.fetch_sub(1); }
    void run() {
      timer.async_wait([self = shared_from_this()](const asio::error_code& ec) {
        asio::error_code ignored;
        if (!ec)
          self->socket.close(ignored);
      });
      read();
    }
    void read() {
      socket.async_read_some(asio::buffer(bin), [self = shared_from_this()](const asio::error_code& ec, std::size_t n) {
        if (!ec && n < self->left) {
          self->left -= n;
          return self->read();
        }
        asio::error_code ignored;
        self->socket.close(ignored);
        self->timer.cancel();
      });
    }
  };

  bool say_goodbye() {
    heard_ = false;
    if (lingering_count.fetch_add(1) >= lingering_max) {
      lingering_count.fetch_sub(1);
      return false;
    }
    const std::string& answer = !in_handler_ ? timed_out : body_too_large(last_read_) ? too_large : malformed;
    asio::error_code ec;
    base::non_blocking(true, ec);
    base::write_some(asio::buffer(answer), ec); // a fresh socket buffer takes these few bytes; if not, so be it
    base::shutdown(base::shutdown_send, ec);
    std::make_shared<lingering>(std::move(static_cast<base&>(*this)))->run();
    return true;
  }

  /// True if the headers in `bytes` declare a longer body than is allowed.
  static bool body_too_large(std::string_view bytes) noexcept {
    constexpr std::string_view name = "content-length:";
    for (std::size_t i = 0; i + name.size() < bytes.size(); ++i) {
      std::size_t j = 0;
      while (j < name.size() && (bytes[i + j] == name[j] || (bytes[i + j] | 0x20) == name[j]))
        ++j;
      if (j < name.size())
        continue;
      std::size_t at = i + j;
      while (at < bytes.size() && bytes[at] == ' ')
        ++at;
      std::uint64_t n = 0;
      for (; at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9' && n <= limits::http_body_bytes_max; ++at)
        n = n * 10 + static_cast<std::uint64_t>(bytes[at] - '0');
      return n > limits::http_body_bytes_max;
    }
    return false;
  }

  static std::string answer_of(std::string_view status, std::string_view what) {
    const std::string body = "{\"error\":\"" + std::string{what} + "\"}\n";
    return "HTTP/1.1 " + std::string{status} + "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static_assert(limits::http_body_bytes_max == 4 * limits::mib, "the texts below say 4 MiB");
  inline static const std::string malformed =
      answer_of("400 Bad Request", "not an HTTP/1.1 request within the limits: target 2 KiB, 100 headers of 8 KiB, body 4 MiB");
  inline static const std::string too_large =
      answer_of("413 Payload Too Large", "the body is larger than 4 MiB; send the rows in portions");
  inline static const std::string timed_out = answer_of("408 Request Timeout", "the request did not arrive whole in its time");

  open_sockets* open_;
  bool entered_ = false;    ///< into open_sockets
  bool heard_ = false;      ///< bytes came since the last answer began
  bool in_handler_ = false; ///< the connection is working on what it just read
  std::string_view last_read_;
};

} // namespace flywheel
