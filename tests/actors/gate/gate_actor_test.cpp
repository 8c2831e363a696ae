// Gates in one process: a port is the other gate's handle, or a wire of the test's between them. TLS and real ports: tests/process.

#include "actors/gate/gate_actor.hpp"
#include "actors/gate/tls_transport_actor.hpp"
#include "actors/gate/watchman_actor.hpp"
#include "cluster/content/publish.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>

using namespace flywheel;
using testing::HasSubstr;
using namespace std::chrono_literals;

namespace {

namespace fs = std::filesystem;

/// What a service was told; waits for events instead of polling.
template <class T> class inbox {
public:
  void put(T value) {
    {
      const std::lock_guard lock{mutex_};
      values_.push_back(std::move(value));
    }
    came_.notify_all();
  }
  /// Everything, once there are `n`; fails the test if they do not come.
  std::vector<T> wait_for(std::size_t n) {
    std::unique_lock lock{mutex_};
    EXPECT_TRUE(came_.wait_for(lock, 20s, [&] { return values_.size() >= n; })) << values_.size() << " of " << n;
    return values_;
  }
  bool wait_until(const std::function<bool(const std::vector<T>&)>& holds) {
    std::unique_lock lock{mutex_};
    return came_.wait_for(lock, 20s, [&] { return holds(values_); });
  }
  std::size_t size() const {
    const std::lock_guard lock{mutex_};
    return values_.size();
  }

private:
  mutable std::mutex mutex_;
  std::condition_variable came_;
  std::vector<T> values_;
};

struct service_log {
  inbox<gate_call> calls;
  inbox<gate_note> notes;
  inbox<peer_state> peers;
  std::function<gate_answer(const gate_call&)> answer = [](const gate_call& m) {
    gate_answer a;
    a.body = "heard " + m.body;
    return a;
  };
  std::function<gate_answer(const peer_state&)> admit = [](const peer_state&) {
    gate_answer a;
    a.body = "welcome";
    return a;
  };
  std::atomic<bool> silent{false};
};

gate_service::behavior_type serve(gate_service::pointer self, service_log* log) {
  return {
      [=](const gate_call& m) -> caf::result<gate_answer> {
        log->calls.put(m);
        if (log->silent)
          return self->make_response_promise<gate_answer>(); // kept by nobody: never answered
        return log->answer(m);
      },
      [=](const gate_note& m) { log->notes.put(m); },
      [=](const peer_state& m) -> gate_answer {
        auto a = log->admit(m);
        log->peers.put(m);
        return a;
      },
  };
}

struct plain_config : caf::actor_system_config {
  plain_config() {
    cafx::add_types<caf::id_block::flywheel>(*this);
    cafx::use_sharing_scheduler(*this);
  }
};

struct side {
  service_log log;
  service_directory services;
  gate_agent gate;
  inbox<std::pair<std::string, error>> denied;
};

class gates : public testing::Test {
protected:
  static void SetUpTestSuite() {
    char name[] = "/tmp/flywheel-gates-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root = name;
    const auto now = system_clock().wall();
    ASSERT_TRUE(certificate_authority::create(root / "ca", "lab", now));
    const auto authority = certificate_authority::open(root / "ca");
    ASSERT_TRUE(authority);
    for (const auto& [who, as] : {std::pair{"head", role::node}, {"node1", role::node}, {"maria", role::viewer}})
      ASSERT_TRUE(authority->issue({who, as, {}, 30}, root / who, now));
    cafx::init_types<caf::id_block::flywheel>();
  }
  static void TearDownTestSuite() { fs::remove_all(root); }
  void SetUp() override { system = std::make_unique<caf::actor_system>(config); }
  void TearDown() override {
    for (const auto& a : started)
      caf::anon_send_exit(a, caf::exit_reason::user_shutdown);
    started.clear();
    for (auto* s : {&head, &node}) {
      s->services.clear();
      s->gate = nullptr;
    }
    system->await_actors_before_shutdown(false);
    system.reset();
  }
  template <class Handle> Handle keep(Handle h) {
    started.push_back(caf::actor_cast<caf::actor>(h));
    return h;
  }

  gate_options options_of(side& s, const std::string& who, std::uint64_t incarnation) {
    const tls_files files{root / who / (who + ".pem"), root / who / (who + ".key"), root / who / "ca.pem"};
    gate_options o;
    o.credentials.certificate = read_file(files.certificate, 1 << 16).value();
    o.credentials.authority = read_file(files.authority, 1 << 16).value();
    o.credentials.sign = [files](std::string_view bytes) { return sign(files, bytes); };
    o.credentials.draw = os_entropy_;
    o.credentials.incarnation = incarnation;
    o.greeting = "hello of " + who;
    o.services = &s.services;
    o.time = &system_clock();
    o.denied = [&s](const std::string& name, const error& why) { s.denied.put({name, why}); };
    o.connect = [this](caf::actor_system&, const std::string& host, std::uint16_t) -> result<caf::actor> {
      if (host == "nowhere")
        return error{errc::unreachable, "nobody listens", host};
      return caf::actor_cast<caf::actor>(head.gate);
    };
    return o;
  }
  void start(side& s, gate_options o) {
    s.services.set("cluster", keep(system->spawn(serve, &s.log)));
    s.gate = keep(spawn_gate(*system, std::move(o)));
  }
  /// Both, connected; the node has dialled.
  void connect(const std::string& who = "node1") {
    start(head, options_of(head, "head", 100));
    start(node, options_of(node, who, 7));
    cafx::anon_send(node.gate, gate_dial{"head", 1});
  }
  gate_answer ask(const side& from, const std::string& peer, const std::string& service, const std::string& body, std::uint64_t wait_ms = 10'000) {
    caf::scoped_actor self{*system};
    gate_answer got;
    cafx::request(self.ptr(), from.gate, 20s, gate_ask{peer, service, body, wait_ms})
        .receive([&](gate_answer& a) { got = std::move(a); }, [&](caf::error& e) { ADD_FAILURE() << cafx::render(e); });
    return got;
  }

  static inline fs::path root;
  static inline std::function<std::uint64_t()> os_entropy_ = [] {
    static std::atomic<std::uint64_t> n{1};
    return n++;
  };
  plain_config config;
  std::unique_ptr<caf::actor_system> system;
  std::vector<caf::actor> started;
  side head, node;
};

} // namespace

TEST_F(gates, learn_who_the_other_is_and_pass_messages) {
  connect();
  const auto joined = head.log.peers.wait_for(1)[0];
  EXPECT_EQ(joined.peer, "node1");
  EXPECT_EQ(joined.role, "node");
  EXPECT_EQ(joined.incarnation, 7U);
  EXPECT_EQ(joined.text, "hello of node1");
  EXPECT_FALSE(joined.dialled);
  const auto up = node.log.peers.wait_for(1)[0];
  EXPECT_EQ(up.peer, "head");
  EXPECT_TRUE(up.connected && up.dialled);
  EXPECT_EQ(up.text, "welcome");
  EXPECT_EQ(up.incarnation, 100U);

  EXPECT_EQ(ask(node, "head", "cluster", "a question").body, "heard a question");
  EXPECT_EQ(ask(head, "node1", "cluster", "another").body, "heard another");
  EXPECT_EQ(head.log.calls.wait_for(1)[0].role, "node");
  cafx::anon_send(head.gate, gate_note{"node1", "cluster", "by the way"});
  const auto note = node.log.notes.wait_for(1)[0];
  EXPECT_EQ(note.peer, "head");
  EXPECT_EQ(note.body, "by the way");

  EXPECT_EQ(ask(node, "head", "nothing", "?").problem.code, static_cast<std::uint16_t>(errc::not_allowed));
  EXPECT_EQ(ask(node, "head", "control", "?").problem.code, static_cast<std::uint16_t>(errc::not_found));
  EXPECT_EQ(ask(node, "elsewhere", "cluster", "?").problem.code, static_cast<std::uint16_t>(errc::unreachable));
}

TEST_F(gates, many_large_messages_arrive_in_order) {
  connect();
  node.log.peers.wait_for(1);
  constexpr std::size_t many = 400; // 100 MB: more than the credit by far
  for (std::size_t i = 0; i < many; ++i) {
    const auto answer = ask(node, "head", "cluster", std::to_string(i) + std::string(256 << 10, 'x'));
    ASSERT_EQ(answer.body.size(), 6 + std::to_string(i).size() + (256 << 10));
  }
  const auto too_large = ask(node, "head", "cluster", std::string((1 << 20) + 1, 'x'));
  EXPECT_EQ(too_large.problem.code, static_cast<std::uint16_t>(errc::too_large));
  EXPECT_EQ(ask(node, "head", "cluster", "still there").body, "heard still there");
}

TEST_F(gates, a_viewer_is_kept_from_the_clusters_service_and_that_is_recorded) {
  connect("maria");
  const auto joined = head.log.peers.wait_for(1)[0];
  EXPECT_EQ(joined.role, "viewer");
  node.log.peers.wait_for(1);
  const auto answer = ask(node, "head", "cluster", "work for me");
  EXPECT_EQ(answer.problem.code, static_cast<std::uint16_t>(errc::not_allowed));
  const auto denied = head.denied.wait_for(1)[0];
  EXPECT_THAT(denied.first, HasSubstr("maria"));
  EXPECT_EQ(denied.second.code, errc::not_allowed);
  EXPECT_EQ(head.log.calls.size(), 0U);
  cafx::anon_send(node.gate, gate_note{"head", "cluster", "psst"});
  head.denied.wait_for(2);
  EXPECT_EQ(head.log.notes.size(), 0U);
}

TEST_F(gates, who_is_refused_learns_why_and_tries_again) {
  std::atomic<int> asked{0};
  head.log.admit = [&](const peer_state&) {
    gate_answer a;
    if (++asked < 3)
      a.problem = error{errc::stale_epoch, "an older incarnation", "node1", "start anew"};
    return a;
  };
  connect();
  ASSERT_TRUE(node.log.peers.wait_until([](const auto& all) { return !all.empty() && all.back().connected; }));
  const auto all = node.log.peers.wait_for(3);
  EXPECT_FALSE(all[0].connected);
  EXPECT_EQ(all[0].problem.code, static_cast<std::uint16_t>(errc::stale_epoch));
  EXPECT_EQ(all[0].problem.what, "an older incarnation");
  EXPECT_TRUE(all[2].connected);
}

TEST_F(gates, what_waits_is_failed_when_the_peer_goes_and_the_dialler_comes_back) {
  connect();
  node.log.peers.wait_for(1);
  head.log.silent = true;
  std::thread waiting{[&] {
    const auto answer = ask(node, "head", "cluster", "never answered");
    EXPECT_EQ(answer.problem.code, static_cast<std::uint16_t>(errc::unreachable));
    EXPECT_THAT(answer.problem.hint, HasSubstr("may or may not"));
  }};
  head.log.calls.wait_for(1);
  caf::anon_send_exit(head.gate, caf::exit_reason::kill);
  waiting.join();
  head.log.silent = false;
  ASSERT_TRUE(node.log.peers.wait_until([](const auto& all) { return all.size() >= 2 && !all.back().connected; }));
  auto again = options_of(head, "head", 101);
  head.gate = keep(spawn_gate(*system, again)); // the next dial finds this one
  ASSERT_TRUE(node.log.peers.wait_until([](const auto& all) { return all.back().connected && all.back().incarnation == 101; }));
  EXPECT_EQ(ask(node, "head", "cluster", "you are back").body, "heard you are back");
}

TEST_F(gates, a_call_that_takes_too_long_is_answered_for_the_caller) {
  connect();
  node.log.peers.wait_for(1);
  head.log.silent = true;
  const auto answer = ask(node, "head", "cluster", "?", 50);
  EXPECT_EQ(answer.problem.code, static_cast<std::uint16_t>(errc::timed_out));
  head.log.silent = false;
  EXPECT_EQ(ask(node, "head", "cluster", "!").body, "heard !");
}

TEST_F(gates, a_new_incarnation_says_goodbye_and_comes_again) {
  connect();
  node.log.peers.wait_for(1);
  cafx::anon_send(node.gate, gate_renew{8, "changed"});
  ASSERT_TRUE(head.log.peers.wait_until([](const auto& all) { return all.back().incarnation == 8 && all.back().connected; }));
  const auto all = head.log.peers.wait_for(3);
  EXPECT_FALSE(all[1].connected);
  EXPECT_EQ(all[1].incarnation, 7U);
  EXPECT_EQ(all[2].text, "changed");
}

TEST_F(gates, nobody_there_is_told_and_dialled_again) {
  start(node, options_of(node, "node1", 7));
  cafx::anon_send(node.gate, gate_dial{"nowhere", 9});
  const auto all = node.log.peers.wait_for(3);
  EXPECT_EQ(all[0].peer, "nowhere:9");
  EXPECT_EQ(all[0].problem.code, static_cast<std::uint16_t>(errc::unreachable));
}

TEST_F(gates, garbage_from_a_member_ends_its_connection_and_nothing_else) {
  connect();
  node.log.peers.wait_for(1);
  caf::scoped_actor stranger{*system};
  for (const auto& bytes : {std::string{}, std::string(2 << 20, '\xc1'), std::string{"\x81\xa1v\x01", 4}, std::string{"\xdf\xff\xff\xff\xff", 5}}) {
    const auto before = head.denied.size();
    stranger->send(caf::actor_cast<gate_port>(head.gate), gate_frame{bytes});
    head.denied.wait_for(before + 1);
  }
  // A member that has shaken hands and then breaks the order is shown out as well.
  EXPECT_EQ(ask(node, "head", "cluster", "still there").body, "heard still there");
}

TEST_F(gates, a_peer_that_connects_anew_before_its_old_connection_is_missed_is_greeted_again) {
  start(head, options_of(head, "head", 100));
  caf::scoped_actor peer{*system};
  const auto port = caf::actor_cast<gate_port>(head.gate);
  const auto next = [&] {
    gate::envelope got;
    peer->receive([&](const gate_frame& f) { got = gate::decode(f.bytes).value(); }, caf::after(20s) >> [] { ADD_FAILURE() << "no answer"; });
    return got;
  };
  for (int i = 0; i < 3; ++i) {
    gate::dialler_handshake hands{options_of(node, "node1", 7).credentials, "again"};
    peer->send(port, gate_frame{gate::encode(hands.hello())});
    const auto proof = hands.answer(next(), system_clock().wall());
    ASSERT_TRUE(proof) << proof.error().to_string();
    peer->send(port, gate_frame{gate::encode(*proof)});
    EXPECT_EQ(next().kind, gate::envelope_kind::welcome) << i;
  }
  for (const auto& m : head.log.peers.wait_for(3))
    EXPECT_TRUE(m.connected) << "nobody hears that it was gone: it was not";
  EXPECT_EQ(head.denied.size(), 0U);
}

TEST_F(gates, who_says_nothing_after_connecting_is_shown_out) {
  auto o = options_of(head, "head", 100);
  o.handshake_within = 50ms;
  o.peers_max = 2;
  start(head, o);
  caf::scoped_actor quiet{*system}, second{*system}, third{*system};
  const auto port = caf::actor_cast<gate_port>(head.gate);
  const gate::credentials none{"", "", {}, [] { return 1; }, 3};
  gate::envelope ack; // decodes, but is no hello
  ack.kind = gate::envelope_kind::ack;
  quiet->send(port, gate_frame{gate::encode(ack)});
  EXPECT_THAT(head.denied.wait_for(1)[0].second.what, HasSubstr("ack"));
  // Two who begin a handshake and stop fill the gate; the third is turned away until their time is over.
  auto hello = [&](const std::string& who) { return gate::encode(gate::dialler_handshake{options_of(node, who, 5).credentials, ""}.hello()); };
  quiet->send(port, gate_frame{hello("node1")});
  second->send(port, gate_frame{hello("maria")});
  third->send(port, gate_frame{hello("node1")});
  const auto denied = head.denied.wait_for(2);
  EXPECT_EQ(denied[1].second.code, errc::no_capacity);
  start(node, options_of(node, "node1", 7));
  cafx::anon_send(node.gate, gate_dial{"head", 1});
  ASSERT_TRUE(node.log.peers.wait_until([](const auto& all) { return !all.empty() && all.back().connected; })) << "there is room again";
}

TEST(tls_transport, addresses_are_read_as_people_write_them) {
  EXPECT_EQ(*parse_address("node1.lab:7400"), (std::pair<std::string, std::uint16_t>{"node1.lab", 7400}));
  EXPECT_EQ(*parse_address("[::1]:80"), (std::pair<std::string, std::uint16_t>{"::1", 80}));
  for (const char* bad : {"", "node1", ":7400", "node1:", "node1:70000", "node1:-1", "node1:7x", "[]:7"})
    EXPECT_EQ(parse_address(bad).error().code, errc::invalid_argument) << bad;
}

TEST(tls_transport, a_probe_tells_why_nobody_is_reached) {
  EXPECT_THAT(probe("127.0.0.1", 1, 500ms).error().to_string(), HasSubstr("127.0.0.1:1"));
  EXPECT_THAT(probe("no-such-host.invalid", 1, 500ms).error().what, HasSubstr("resolve"));
}

TEST_F(gates, an_actor_that_nothing_can_replace_takes_the_process_with_it_only_by_a_fault) {
  const auto end_with = [](caf::exit_reason reason) {
    plain_config own;
    caf::actor_system inner{own};
    auto precious = inner.spawn([](caf::event_based_actor*) { return caf::behavior{[](tick_atom) {}}; });
    auto watchman = spawn_watchman(inner, {{"precious", precious}});
    caf::scoped_actor self{inner};
    self->send_exit(precious, reason);
    self->wait_for(precious);
    self->send_exit(watchman, caf::exit_reason::user_shutdown); // behind the news of the other's end
    self->wait_for(watchman);
    ::_exit(0);
  };
  testing::GTEST_FLAG(death_test_style) = "threadsafe"; // other tests' threads may be ending still
  EXPECT_EXIT(end_with(caf::exit_reason::user_shutdown), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(end_with(caf::exit_reason::unhandled_exception), testing::ExitedWithCode(70), "precious ended by a fault");
}
