#include "cluster/base/json.hpp"
#include "deploy/server/model_server.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/random.hpp"
#include "tests/deploy/server/http_client.hpp"
#include "tests/deploy/server/small_models.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

using namespace flywheel;
using namespace flywheel::testing_models;
using nlohmann::json;
using testing::HasSubstr;
using testing_http::client;

namespace {

constexpr const char* row = R"({"minutes":250,"calls":1,"plan":"no","area":"408"})";

model_server_options options() {
  model_server_options o;
  o.name = "churn";
  o.observations_max = 4096;
  return o;
}
served_model version(int v, float shift = 0) { return {"churn/v" + std::to_string(v), std::make_shared<linear_model>(shift)}; }
std::unique_ptr<model_server> serve(model_server_options o = options(), route_table routes = {version(1), {}, 0, 1}) {
  auto s = model_server::start(std::move(o), std::move(routes));
  EXPECT_TRUE(s) << s.error().to_string();
  return std::move(*s);
}

} // namespace

TEST(model_server, answers_over_http_and_keeps_the_connection) {
  const auto server = serve();
  ASSERT_NE(server->port(), 0);
  client c{server->port()};
  for (int i = 0; i < 3; ++i) {
    const auto r = c.ask("POST", "/predict", row);
    EXPECT_EQ(r.status, 200);
    EXPECT_THAT(r.head, HasSubstr("Content-Type: application/json\r\n"));
    EXPECT_EQ(json::parse(r.body)["prediction"], "no");
  }
  EXPECT_EQ(c.ask("GET", "/v2/health/ready").status, 200);
  const auto head = c.ask("HEAD", "/");
  EXPECT_EQ(head.status, 200);
  const auto wrong = c.ask("GET", "/predict");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_THAT(wrong.head, HasSubstr("Allow: POST\r\n"));
  EXPECT_EQ(c.ask("DELETE", "/predict").status, 405);
  EXPECT_EQ(c.ask("GET", "/nowhere").status, 404);
  const auto seen = server->take_requests();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_GT(seen[0].latency_ms, 0);
  EXPECT_LT(seen[0].latency_ms, 1000);
}

TEST(model_server, pipelined_and_split_requests_are_answered_in_order) {
  const auto server = serve();
  client c{server->port()};
  std::string all;
  for (int i = 0; i < 20; ++i) {
    const std::string body = R"({"id":"k)" + std::to_string(i) + R"(","minutes":1,"calls":1,"plan":"no","area":"408"})";
    all += "POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  random_source random{4};
  for (std::size_t at = 0; at < all.size();) {
    const auto n = 1 + random.below(400);
    ASSERT_TRUE(c.send(std::string_view{all}.substr(at, n)));
    at += n;
  }
  for (int i = 0; i < 20; ++i) {
    const auto r = c.receive();
    ASSERT_EQ(r.status, 200) << i << r.head << r.body;
    EXPECT_EQ(json::parse(r.body)["id"], "k" + std::to_string(i));
  }
}

TEST(model_server, chunked_bodies_are_read) {
  const auto server = serve();
  client c{server->port()};
  ASSERT_TRUE(c.send("POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\n{\"minutes\":250,\"calls\":1,\"\r\n"
                     "18\r\nplan\":\"no\",\"area\":\"408\"}\r\n0\r\n\r\n"));
  EXPECT_EQ(c.receive().status, 200);
}

TEST(model_server, a_taken_port_is_named_with_what_to_do) {
  const auto first = serve();
  auto o = options();
  o.port = first->port();
  const auto second = model_server::start(o, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, errc::address_in_use);
  EXPECT_THAT(second.error().to_string(), HasSubstr("127.0.0.1:" + std::to_string(first->port())));
  EXPECT_THAT(second.error().to_string(), HasSubstr("serve.port"));
  o.port = 0;
  o.address = "203.0.113.7";
  EXPECT_FALSE(model_server::start(o, {}));
  o.address = "no address";
  EXPECT_FALSE(model_server::start(o, {}));
  o.name = "../x";
  EXPECT_EQ(model_server::start(o, {}).error().code, errc::invalid_argument);
}

TEST(model_server, a_port_is_free_again_when_its_server_is_gone) {
  auto o = options();
  {
    const auto first = serve();
    o.port = first->port();
    client c{o.port};
    ASSERT_EQ(c.ask("POST", "/predict", row).status, 200);
  }
  EXPECT_EQ(serve(o)->port(), o.port);
}

// A thousand swaps between models that answer differently, while four connections ask without a pause: each answer must
// be right for the version it names, and none may fail.
TEST(model_server, a_thousand_swaps_under_load_fail_no_request) {
  const auto server = serve();
  constexpr int clients = 4;
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> answered{0}, wrong{0};
  std::latch started{clients};
  std::vector<std::thread> load;
  for (int t = 0; t < clients; ++t)
    load.emplace_back([&, t] {
      client c{server->port()};
      bool first = true;
      for (int i = 0; !done || i < 10; ++i) {
        const std::string body = R"({"id":")" + std::to_string(t) + "-" + std::to_string(i) + R"(","minutes":1,"calls":1,"plan":"no","area":"408"})";
        const auto r = c.ask("POST", "/predict", body);
        const auto j = json::parse(r.body, nullptr, false);
        const bool right = r.status == 200 && j.is_object() &&
                           j["prediction"] == (std::stoi(j["version"].get<std::string>().substr(7)) % 2 == 0 ? "yes" : "no");
        wrong += right ? 0 : 1;
        ++answered;
        answered.notify_all();
        if (std::exchange(first, false))
          started.count_down();
      }
    });
  started.wait();
  std::uint64_t seen = 0;
  for (int i = 1; i <= 1000; ++i) { // version 2k answers yes, 2k+1 no; champion and challenger change places and share
    const auto v = [](int n) { return version(n, n % 2 == 0 ? 0.9F : 0.0F); };
    server->set_routes({v(i), i % 3 == 0 ? served_model{} : v(i + 1), i % 2 == 0 ? 50.0 : 5.0, static_cast<std::uint64_t>(i)});
    seen += server->take_requests().size();
    if (i % 4 == 0) // a thousand swaps alone would be over before the clients have begun
      answered.wait(answered);
  }
  done = true;
  for (auto& t : load)
    t.join();
  seen += server->take_requests().size();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(answered, 250U);
  EXPECT_EQ(seen + server->dropped_observations(), answered) << "every answer is observed once or counted as dropped";
  EXPECT_EQ(server->routes().generation, 1000U);
}

TEST(model_server, bodies_beyond_the_limit_get_413_and_take_no_memory) {
  const auto server = serve();
  client declared{server->port()};
  ASSERT_TRUE(declared.send("POST /predict HTTP/1.1\r\nHost: t\r\ncontent-length: 99999999999\r\n\r\n"));
  const auto r = declared.receive();
  EXPECT_EQ(r.status, 413);
  EXPECT_TRUE(json::parse(r.body).contains("error"));
  declared.finish_sending();
  EXPECT_TRUE(declared.closed());

  client sent{server->port()};
  EXPECT_EQ(sent.ask("POST", "/predict", std::string(limits::http_body_bytes_max + 1, ' ')).status, 413);

  client chunked{server->port()};
  ASSERT_TRUE(chunked.send("POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"));
  const std::string chunk = "100000\r\n" + std::string(0x100000, ' ') + "\r\n";
  for (int i = 0; i < 6; ++i)
    if (!chunked.send(chunk))
      break;
  EXPECT_EQ(chunked.receive().status, 400);

  client big{server->port()};
  EXPECT_EQ(big.ask("POST", "/predict", std::string(limits::http_body_bytes_max - 60, ' ') + row).status, 200) << "the limit itself is fine";
}

TEST(model_server, what_is_not_http_gets_400_and_hurts_nobody) {
  const auto server = serve();
  client good{server->port()};
  std::string many_headers = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 200; ++i)
    many_headers += "x" + std::to_string(i) + ": 1\r\n";
  for (const std::string& text :
       {std::string{"hello\r\n\r\n"}, std::string(100, '\0'), std::string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"}, std::string{"GET / XTTP/1.1\r\n\r\n"},
        "GET /" + std::string(5000, 'a') + " HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nx: " + std::string(20'000, 'a') + "\r\n\r\n",
        "GET / HTTP/1.1\r\n" + std::string(500, 'h') + ": 1\r\n\r\n", many_headers + "\r\n",
        std::string{"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"}, std::string{"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"},
        std::string{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}}) {
    client c{server->port()};
    c.send(text);
    const auto r = c.receive();
    EXPECT_EQ(r.status, 400) << text.substr(0, 40);
    EXPECT_TRUE(json::parse(r.body, nullptr, false).contains("error")) << r.body;
    EXPECT_EQ(good.ask("POST", "/predict", row).status, 200);
  }
}

TEST(model_server, random_bytes_and_broken_requests_never_stop_it) {
  const auto server = serve();
  random_source random{9};
  const std::string request = "POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(std::string{row}.size()) + "\r\n\r\n" + row;
  for (int i = 0; i < 300; ++i) {
    std::string text = request;
    for (auto n = 1 + random.below(5); n > 0; --n)
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    client c{server->port()};
    ASSERT_TRUE(c.connected());
    c.send(text.substr(0, random.below(text.size() + 1)));
    if (i % 2 == 0)
      c.finish_sending();
  }
  client c{server->port()};
  EXPECT_EQ(c.ask("POST", "/predict", row).status, 200);
}

TEST(model_server, slow_clients_are_told_408_and_do_not_keep_others_waiting) {
  auto o = options();
  o.request_time_max = std::chrono::milliseconds{300};
  const auto server = serve(o);
  std::vector<std::unique_ptr<client>> slow;
  for (int i = 0; i < 64; ++i) {
    slow.push_back(std::make_unique<client>(server->port()));
    ASSERT_TRUE(slow.back()->send("POST /predict HTTP/1.1\r\nHost: t\r\nContent-Le"));
  }
  client good{server->port()};
  EXPECT_EQ(good.ask("POST", "/predict", row).status, 200) << "while 64 clients dawdle";
  int told = 0;
  for (auto& c : slow) {
    const auto r = c->receive();
    told += r.status == 408 ? 1 : 0;
    c->finish_sending();
    EXPECT_TRUE(c->closed());
  }
  EXPECT_GT(told, 0);
  EXPECT_TRUE(client(server->port()).connected());
}

TEST(model_server, connections_beyond_the_limit_wait_for_their_turn) {
  auto o = options();
  o.connections_max = 4;
  const auto server = serve(o);
  auto first = std::make_unique<client>(server->port());
  std::vector<std::unique_ptr<client>> others;
  ASSERT_EQ(first->ask("POST", "/predict", row).status, 200);
  for (int i = 0; i < 3; ++i) {
    others.push_back(std::make_unique<client>(server->port()));
    ASSERT_EQ(others.back()->ask("POST", "/predict", row).status, 200);
  }
  client fifth{server->port()};
  ASSERT_TRUE(fifth.send("GET /v2/health/live HTTP/1.1\r\nHost: t\r\n\r\n"));
  first.reset();
  EXPECT_EQ(fifth.receive().status, 200);
}

// The destructor must let a large answer that is on its way arrive whole.
TEST(model_server, answers_in_flight_arrive_when_the_server_ends) {
  auto server = serve();
  client c{server->port(), 4096};
  std::string body = "[";
  for (int i = 0; i < 16'000; ++i)
    body += std::string{row} + ",";
  body.back() = ']';
  ASSERT_TRUE(c.send("POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body));
  while (server->take_requests().empty()) // the request is in the handler or beyond
    std::this_thread::yield();
  std::thread stopper{[&] { server.reset(); }};
  const auto r = c.receive();
  stopper.join();
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(json::parse(r.body).size(), 16'000U);
}

TEST(model_server, an_idle_server_ends_at_once_with_connections_open) {
  auto server = serve();
  std::vector<std::unique_ptr<client>> idle;
  for (int i = 0; i < 20; ++i) {
    idle.push_back(std::make_unique<client>(server->port()));
    ASSERT_EQ(idle.back()->ask("GET", "/v2/health/live").status, 200);
  }
  const auto before = std::chrono::steady_clock::now();
  server.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds{1});
  EXPECT_TRUE(idle[0]->closed());
}
