// The bare HTTP library: RESTinio as the model server sets it up, sending back each body. What ours loses against this is
// what a prediction costs. Usage: bench_serve_echo THREADS; prints the port and serves until its input ends.

#include <restinio/all.hpp>

#include <cstdio>
#include <cstdlib>
#include <future>
#include <thread>
#include <vector>

namespace {

struct echo {
  restinio::request_handling_status_t operator()(const restinio::request_handle_t& request) const {
    return request->create_response().append_header(restinio::http_field::content_type, "application/json").set_body(request->body()).done();
  }
};
struct traits : restinio::traits_t<restinio::asio_timer_manager_t, restinio::null_logger_t, echo> {
  static constexpr bool use_connection_count_limiter = true;
};

} // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 2;
  asio::io_context io;
  auto work = asio::make_work_guard(io);
  unsigned port = 0;
  restinio::server_settings_t<traits> settings;
  settings.address("127.0.0.1")
      .port(0)
      .request_handler(echo{})
      .read_next_http_message_timelimit(std::chrono::seconds{15})
      .max_parallel_connections(512)
      .max_pipelined_requests(64)
      .socket_options_setter([](auto& s) { s.set_option(asio::ip::tcp::no_delay{true}); })
      .acceptor_post_bind_hook([&](asio::ip::tcp::acceptor& a) { port = a.local_endpoint().port(); });
  restinio::http_server_t<traits> server{restinio::external_io_context(io), std::move(settings)};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&] { io.run(); });
  std::promise<void> opened;
  server.open_async([&] { opened.set_value(); }, [](const std::exception_ptr&) { std::_Exit(1); });
  opened.get_future().wait();
  std::printf("%u\n", port);
  std::fflush(stdout);
  while (std::getchar() != EOF)
    ;
  io.stop();
  for (auto& t : threads)
    t.join();
}
