#include "deploy/server/model_server.hpp"

#include "cluster/base/clock.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/limits.hpp"
#include "deploy/server/model_service.hpp"
#include "deploy/server/polite_socket.hpp"

#include <restinio/all.hpp>

#include <sys/resource.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <future>
#include <thread>

namespace flywheel {
namespace {

constexpr std::size_t url_bytes_max = 2048, header_name_bytes_max = 256, header_value_bytes_max = 8192, header_count_max = 100;
// RESTinio 0.6.16 starts a second read when it answers at once while its table of pipelined requests is full, and then
// loses its place. A table that a client does not fill never gets there; one that does is hung up on.
constexpr std::size_t pipelined_max = 64;
constexpr std::size_t kept_bytes_max = 1 * limits::mib; ///< of a thread's answer buffer between two requests
constexpr std::chrono::seconds write_time_max{10}, drain_time_max{2};
constexpr int rounds_max = 1000; ///< of ending connections; each runs everything that is ready, two are usual

/// Requests whose answer is not yet with the kernel. The destructor of the server waits for them.
class flight_counter {
public:
  void enter() noexcept { count_.fetch_add(1, std::memory_order_relaxed); }
  void leave() noexcept {
    if (count_.fetch_sub(1, std::memory_order_acq_rel) == 1 && draining_.load(std::memory_order_acquire)) {
      const std::scoped_lock lock{mutex_};
      empty_.notify_all();
    }
  }
  void drain(std::chrono::nanoseconds at_most) {
    draining_ = true;
    std::unique_lock lock{mutex_};
    empty_.wait_for(lock, at_most, [&] { return count_.load() == 0; });
  }
  bool draining() const noexcept { return draining_.load(std::memory_order_relaxed); }

private:
  std::atomic<std::int64_t> count_{0};
  std::atomic<bool> draining_{false};
  std::mutex mutex_;
  std::condition_variable empty_;
};

std::string_view status_line(int status) noexcept {
  switch (status) {
  case 200: return "HTTP/1.1 200 OK\r\n";
  case 400: return "HTTP/1.1 400 Bad Request\r\n";
  case 404: return "HTTP/1.1 404 Not Found\r\n";
  case 405: return "HTTP/1.1 405 Method Not Allowed\r\n";
  case 413: return "HTTP/1.1 413 Payload Too Large\r\n";
  case 503: return "HTTP/1.1 503 Service Unavailable\r\n";
  default: return "HTTP/1.1 500 Internal Server Error\r\n";
  }
}

/// The whole answer as one buffer: one allocation and one segment, where RESTinio's builder makes a dozen strings.
std::string to_bytes(const service_answer& answer, bool keep_alive, bool head_only) {
  std::array<char, 24> length;
  const auto end = std::to_chars(length.data(), length.data() + length.size(), answer.body.size()).ptr;
  std::string out;
  out.reserve(192 + (head_only ? 0 : answer.body.size()));
  out.append(status_line(answer.status)).append(keep_alive ? "Connection: keep-alive" : "Connection: close");
  out.append("\r\nContent-Type: ").append(answer.content_type).append("\r\nContent-Length: ");
  out.append(length.data(), static_cast<std::size_t>(end - length.data()));
  if (!answer.allow.empty())
    out.append("\r\nAllow: ").append(answer.allow);
  out.append("\r\n\r\n");
  if (!head_only)
    out.append(answer.body);
  return out;
}

http_verb verb_of(const restinio::http_method_id_t& m) noexcept {
  if (m == restinio::http_method_post())
    return http_verb::post;
  if (m == restinio::http_method_get())
    return http_verb::get;
  return m == restinio::http_method_head() ? http_verb::head : http_verb::other;
}

struct request_handler {
  model_service* service;
  flight_counter* flight;

  restinio::request_handling_status_t operator()(const restinio::request_handle_t& request) const {
    thread_local service_scratch scratch;
    thread_local service_answer answer;
    const auto& header = request->header();
    service_question question;
    question.verb = verb_of(header.method());
    question.target = {header.request_target().data(), header.request_target().size()};
    question.body = request->body();
    if (question.verb != http_verb::post)
      if (const auto accept = header.opt_value_of(restinio::http_field::accept))
        question.accept = {accept->data(), accept->size()};
    flight->enter();
    service->answer(question, answer, scratch);
    const bool keep_alive = header.should_keep_alive() && !flight->draining();
    restinio::writable_items_container_t parts;
    parts.emplace_back(to_bytes(answer, keep_alive, question.verb == http_verb::head));
    restinio::write_group_t group{std::move(parts)};
    group.after_write_notificator([f = flight](const auto&) { f->leave(); });
    if (answer.body.capacity() > kept_bytes_max)
      answer.body = {};
    const auto connection = std::move(restinio::impl::access_req_connection(*request));
    connection->write_response_parts(
        request->request_id(),
        restinio::response_output_flags_t{restinio::response_parts_attr_t::final_parts,
                                          restinio::response_connection_attr(keep_alive)},
        std::move(group));
    return restinio::request_accepted();
  }
};

struct server_traits
    : restinio::traits_t<restinio::asio_timer_manager_t, restinio::null_logger_t, request_handler,
                         restinio::default_strand_t, polite_socket> {
  static constexpr bool use_connection_count_limiter = true;
};
using http_server = restinio::http_server_t<server_traits>;

/// Each connection is a file; the rest of the process needs some too, and a failed accept() is the end of accepting.
std::size_t connection_limit(std::size_t wanted) noexcept {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
    wanted = std::min<std::size_t>(wanted, files.rlim_cur / 2);
  return std::max<std::size_t>(wanted, 1);
}

} // namespace

struct model_server::impl {
  explicit impl(model_server_options options)
      : service(std::move(options), system_clock(), os_entropy()), work(asio::make_work_guard(io)) {}

  model_service service;
  flight_counter flight;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::unique_ptr<http_server> server;
  std::vector<std::thread> threads;
  std::uint16_t port = 0;

  void listen() {
    const auto& o = service.options();
    restinio::server_settings_t<server_traits> settings;
    settings.address(o.address)
        .port(o.port)
        .request_handler(request_handler{&service, &flight})
        .read_next_http_message_timelimit(o.request_time_max)
        .handle_request_timeout(o.request_time_max)
        .write_http_response_timelimit(write_time_max)
        .max_parallel_connections(connection_limit(o.connections_max))
        .max_pipelined_requests(pipelined_max)
        .incoming_http_msg_limits(restinio::incoming_http_msg_limits_t{}
                                      .max_url_size(url_bytes_max)
                                      .max_field_name_size(header_name_bytes_max)
                                      .max_field_value_size(header_value_bytes_max)
                                      .max_field_count(header_count_max)
                                      .max_body_size(limits::http_body_bytes_max))
        .socket_options_setter([](auto& s) { s.set_option(asio::ip::tcp::no_delay{true}); })
        .acceptor_post_bind_hook([this](asio::ip::tcp::acceptor& a) { port = a.local_endpoint().port(); });
    server = std::make_unique<http_server>(restinio::external_io_context(io), std::move(settings));
    for (unsigned i = 0; i < std::max(1U, o.threads); ++i)
      threads.emplace_back([this] { io.run(); });
    std::promise<void> opened;
    server->open_async([&] { opened.set_value(); }, [&](std::exception_ptr e) { opened.set_exception(std::move(e)); });
    opened.get_future().get();
  }

  ~impl() {
    if (server != nullptr && port != 0) {
      std::promise<void> closed;
      server->close_async([&] { closed.set_value(); }, [&](const std::exception_ptr&) { closed.set_value(); });
      closed.get_future().wait();
      flight.drain(drain_time_max);
    }
    io.stop();
    for (auto& t : threads)
      t.join();
    // Connections go before the acceptor they refer to: their reads end here, and with them the last owner of each.
    auto& open = asio::use_service<open_sockets>(io);
    for (int round = 0;; ++round) {
      io.restart();
      io.poll();
      if (!open.close_all())
        break;
      if (round == rounds_max) { // somebody else owns a connection: better to lose the acceptor's memory than to end twice
        (void)server.release();
        break;
      }
    }
  }
};

model_server::model_server() = default;
model_server::~model_server() = default;

result<std::unique_ptr<model_server>> model_server::start(model_server_options options, route_table routes) {
  if (!is_valid_name(options.name))
    return error{errc::invalid_argument, "the model's name is not usable in a URL", options.name};
  const std::string place = options.address + ":" + std::to_string(options.port);
  try {
    auto server = std::unique_ptr<model_server>(new model_server);
    server->impl_ = std::make_unique<impl>(std::move(options));
    server->impl_->service.set_routes(std::move(routes));
    server->impl_->listen();
    return server;
  } catch (const std::system_error& e) {
    if (e.code().value() == EADDRINUSE) // by number: asio's category does not compare with std::errc
      return error{errc::address_in_use, "cannot listen on " + place, "serve.port",
                   "stop what listens there, choose another serve.port, or 0 for any free one"};
    auto failure = error_from_errno(e.code().value(), "cannot listen on " + place, "serve.address");
    failure.hint = "check serve.address and serve.port";
    return failure;
  } catch (const std::exception& e) {
    return error{errc::library_failed, "starting the HTTP server on " + place + ": " + e.what()};
  }
}

void model_server::set_routes(route_table routes) { impl_->service.set_routes(std::move(routes)); }
route_table model_server::routes() const { return impl_->service.routes(); }
std::uint16_t model_server::port() const noexcept { return impl_->port; }
std::vector<served_request> model_server::take_requests() { return impl_->service.take_requests(); }
std::vector<served_label> model_server::take_labels() { return impl_->service.take_labels(); }
std::uint64_t model_server::dropped_observations() const noexcept { return impl_->service.dropped_observations(); }

} // namespace flywheel
