// Desk, host, seat, proxy and log together: a head and a node in one process, with a gate between them that can be cut.

#include "actors/remote_agents/agent_desk_actor.hpp"
#include "actors/remote_agents/agent_host_actor.hpp"
#include "actors/remote_agents/agent_messages.hpp"
#include "actors/remote_agents/agent_proxy_actor.hpp"
#include "actors/remote_agents/letter_line.hpp"
#include "actors/remote_agents/remote_log_actor.hpp"

#include "actors/protocol/agent_directory.hpp"
#include "cluster/journal/journal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

using namespace flywheel;
using nlohmann::json;
using std::chrono::seconds;
namespace fs = std::filesystem;

namespace {

struct config : caf::actor_system_config {
  config() {
    cafx::add_types<caf::id_block::flywheel>(*this);
    cafx::use_sharing_scheduler(*this);
    cafx::set(*this, "scheduler.max-threads", std::size_t{2});
  }
};

/// A gate whose peers are services in this process; asks of `me` arrive there as calls of `me`.
struct wires {
  std::mutex mutex;
  std::map<std::string, caf::actor> services; ///< by name of the node; absent: not connected
  std::vector<json> letters;                  ///< whole small ones, as sent to a service
  caf::actor of(const std::string& node) {
    const std::lock_guard lock{mutex};
    const auto i = services.find(node);
    return i == services.end() ? caf::actor{} : i->second;
  }
  void connect(const std::string& node, caf::actor service) {
    const std::lock_guard lock{mutex};
    services[node] = std::move(service);
  }
};

gate_agent spawn_wire(caf::actor_system& system, std::shared_ptr<wires> w, std::string me) {
  return caf::actor_cast<gate_agent>(system.spawn([=](caf::event_based_actor* self) {
    return caf::behavior{[=](const gate_ask& m) -> caf::result<gate_answer> {
      const auto to = w->of(m.peer);
      gate_answer lost;
      lost.problem = error{errc::unreachable, "there is no connection to " + m.peer};
      if (!to || !w->of(me))
        return lost;
      auto promise = self->template make_response_promise<gate_answer>();
      cafx::request(self, to, seconds{10}, gate_call{me, "node", m.service, m.body, m.wait_ms})
          .then([=](const gate_answer& a) mutable { promise.deliver(a); }, [=](const caf::error&) mutable { promise.deliver(lost); });
      return promise;
    }};
  }));
}

/// An agent for tests: says where it runs; writes to the journal; asks the trainer; dies on demand.
struct probe_state {
  static inline const char* name = "probe";
  const agent_context* context = nullptr;
  std::string place;
};

class remote_agents : public ::testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/fw-remote-XXXXXX";
    root = ::mkdtemp(name);
    auto opened = journal::open(root, system_clock());
    ASSERT_TRUE(opened) << opened.error().to_string();
    log = std::move(*opened);
    cafx::init_types<caf::id_block::flywheel>();
    system = std::make_unique<caf::actor_system>(settings);
    context.layout.root = root;
    context.epoch = 5;
    context.log = log.get();
    context.time = &system_clock();
    context.agents = &agents;
    context.cores = 3;
    desk = spawn_agent_desk(*system, {spawn_wire(*system, net, "head"), &context});
    net->connect("head", caf::actor_cast<caf::actor>(desk));
    agents.set(&agent_directory::parts::trainer, caf::actor_cast<trainer_agent>(system->spawn([](caf::event_based_actor*) {
      return caf::behavior{[](const order_trial& m) {
        trial_ended e;
        e.trial = m.trial;
        e.result_json = m.task_json;
        return e;
      }};
    })));
  }
  void TearDown() override {
    {
      caf::scoped_actor self{*system};
      for (const auto& a : mortal) {
        self->send_exit(a, caf::exit_reason::user_shutdown);
        self->wait_for(a);
      }
    }
    caf::anon_send_exit(caf::actor_cast<caf::actor>(desk), caf::exit_reason::user_shutdown);
    for (auto& [node, h] : hosts)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(h), caf::exit_reason::user_shutdown);
    hosts.clear();
    mortal.clear();
    seats.clear();
    desk = nullptr;
    agents.clear();
    {
      const std::lock_guard lock{net->mutex};
      net->services.clear();
    }
    system->await_actors_before_shutdown(false);
    system.reset();
    log.reset();
    fs::remove_all(root);
  }

  /// What every test agent does, wherever it lives.
  static caf::behavior probe(caf::stateful_actor<probe_state>* self, const agent_context* context, const std::string& place) {
    cafx::state(self).context = context;
    cafx::state(self).place = place;
    return {[=](const run_step& m) -> caf::result<step_outcome> {
              step_outcome out;
              out.summary = place;
              if (m.step == "die") {
                self->quit(caf::exit_reason::unhandled_exception);
                return self->make_response_promise<step_outcome>();
              }
              if (m.step == "never")
                return self->make_response_promise<step_outcome>();
              if (m.step == "big")
                out.outputs_json = m.inputs_json + m.inputs_json;
              if (m.step == "slots")
                out.summary = std::to_string(context->slots()) + " of " + std::to_string(context->cores) + " at " + std::to_string(context->epoch);
              if (m.step == "write") {
                const scribe s{*context, "probe"};
                const auto seq = s.write(s.draft(event_kind::note, m.goal, m.step, {}, "written on " + place, json::object()));
                if (!seq)
                  out.problem = seq.error();
                journal_filter f;
                f.goal = m.goal;
                const auto read = s.read(f);
                out.outputs_json = std::to_string(read ? read->size() : 0) + " " + (seq ? std::to_string(*seq) : "") + " " + std::to_string(context->log->last_seq());
              }
              if (m.step == "ask") {
                auto promise = self->make_response_promise<step_outcome>();
                order_trial order;
                order.trial = "t";
                order.task_json = m.inputs_json;
                cafx::request(self, context->agents->now().trainer, seconds{20}, order)
                    .then(
                        [=](const trial_ended& e) mutable {
                          step_outcome answered;
                          answered.outputs_json = e.trial + e.result_json;
                          promise.deliver(answered);
                        },
                        [=](const caf::error& e) mutable {
                          step_outcome answered;
                          answered.summary = "lost " + cafx::render(e);
                          promise.deliver(answered);
                        });
                return promise;
              }
              return out;
            },
            [=](const stop_step& m) { context->log->append_async({scribe{*context, "probe"}.draft(event_kind::note, m.goal, {}, {}, "stopped on " + place, json::object())}, [](const result<std::uint64_t>&) {}); }};
  }

  /// Starts a node whose agents say `name`.
  void start_node(const std::string& name, bool shares = true) {
    agent_host_options o;
    o.gate = spawn_wire(*system, net, name);
    o.time = &system_clock();
    o.cores = 2;
    o.make["hpo"] = [name](caf::actor_system& s, const agent_context& c) { return caf::actor_cast<caf::actor>(s.spawn<caf::detached>(probe, &c, name)); };
    o.shares_files = [shares](const std::string&) { return shares; };
    o.log = [](const std::string&) {};
    worlds.push_back(o.worlds);
    hosts[name] = spawn_agent_host(*system, std::move(o));
    net->connect(name, caf::actor_cast<caf::actor>(hosts[name]));
    tell(hosts[name], "head", true);
  }
  void tell(const auto& service, const std::string& peer, bool connected) {
    peer_state m;
    m.peer = peer;
    m.dialled = true;
    m.connected = connected;
    if (!connected)
      m.problem = error{errc::unreachable, "cut"};
    cafx::anon_send(service, m);
  }
  /// Both sides notice that the connection is gone.
  void cut(const std::string& name) {
    {
      const std::lock_guard lock{net->mutex};
      net->services.erase(name);
    }
    tell(desk, name, false);
    tell(hosts[name], "head", false);
  }
  hpo_agent seat() {
    auto s = spawn_agent_seat(*system, {"hpo", desk, [&on = *system, c = &context] { return caf::actor_cast<caf::actor>(on.spawn<caf::detached>(probe, c, "head")); }});
    mortal.push_back(s);
    seats.push_back(s);
    return caf::actor_cast<hpo_agent>(s);
  }
  step_outcome ask(const hpo_agent& a, const std::string& step, const std::string& inputs = {}, seconds within = seconds{30}) {
    caf::scoped_actor self{*system};
    step_outcome out;
    run_step m;
    m.goal = "g";
    m.step = step;
    m.inputs_json = inputs;
    cafx::request(self.ptr(), a, within, m).receive([&](step_outcome& o) { out = std::move(o); }, [&](caf::error& e) { out.problem = error{errc::interrupted, cafx::render(e)}; });
    return out;
  }
  /// A question that the agent never answers.
  void tell_never() {
    run_step never;
    never.step = "never";
    auto asker = system->spawn([never, to = current](caf::event_based_actor* self) {
      cafx::request(self, to, seconds{600}, never).then([](const step_outcome&) {}, [](const caf::error&) {});
      return caf::behavior{[](tick_atom) {}};
    });
    mortal.push_back(asker);
    eventually([&] { return home() != ""; }); // behind it
  }
  /// Waits until the newest seat has ended; why.
  caf::error end_of_seat() {
    caf::scoped_actor self{*system};
    self->monitor(seats.back());
    caf::error why;
    self->receive([&](const caf::down_msg& m) { why = m.reason; });
    return why;
  }
  std::string home() { return ask(current, "where").summary; }
  bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 1500; ++i, std::this_thread::sleep_for(std::chrono::milliseconds{10}))
      if (condition())
        return true;
    return false;
  }
  std::size_t entries(const std::string& text) {
    journal_filter f;
    const auto all = log->read(f);
    return all ? static_cast<std::size_t>(std::count_if(all->begin(), all->end(), [&](const event& e) { return e.text == text; })) : 0;
  }

  fs::path root;
  std::unique_ptr<journal> log;
  config settings;
  std::vector<std::shared_ptr<std::vector<std::shared_ptr<void>>>> worlds; // outlive the system
  std::unique_ptr<caf::actor_system> system;
  agent_directory agents;
  agent_context context;
  std::shared_ptr<wires> net = std::make_shared<wires>();
  agent_desk_agent desk;
  std::map<std::string, agent_host_agent> hosts;
  std::vector<caf::actor> mortal, seats;
  hpo_agent current;
};

} // namespace

TEST_F(remote_agents, an_agent_lives_on_the_head_until_a_node_offers_itself_and_nobody_notices_the_move) {
  current = seat();
  EXPECT_EQ(home(), "head");
  start_node("n1");
  EXPECT_TRUE(eventually([&] { return home() == "n1"; }));
  EXPECT_EQ(ask(current, "slots").summary, "3 of 2 at 5") << "the cluster's slots, the node's cores, the head's epoch";
  EXPECT_EQ(ask(current, "big", std::string(3 << 20, 'x')).outputs_json.size(), 6u << 20) << "larger than an envelope, both ways";
  const auto asked = ask(current, "ask", "{\"x\":1}");
  EXPECT_EQ(asked.outputs_json, "t{\"x\":1}") << asked.summary;
  current = nullptr;
}

TEST_F(remote_agents, what_it_writes_is_in_the_journal_and_it_reads_what_is_there) {
  current = seat();
  start_node("n1");
  ASSERT_TRUE(eventually([&] { return home() == "n1"; }));
  for (int i = 0; i < 3; ++i) {
    event_draft d;
    d.goal = "g";
    d.body = json{{"x", std::string(700 << 10, 'x')}}.dump(); // several pages of the answer
    ASSERT_TRUE(log->append(std::move(d)));
    for (int k = 0; k < 5; ++k) {
      event_draft more;
      more.goal = "g";
      more.body = json{{"x", std::string(700 << 10, 'y')}}.dump();
      ASSERT_TRUE(log->append(std::move(more)));
    }
  }
  const auto out = ask(current, "write");
  EXPECT_FALSE(out.problem) << out.problem.what;
  const auto seq = std::to_string(log->last_seq());
  EXPECT_EQ(out.outputs_json, "19 " + seq + " " + seq);
  EXPECT_EQ(entries("written on n1"), 1U);
  current = nullptr;
}

TEST_F(remote_agents, a_connection_that_breaks_ends_the_seat_and_the_next_one_is_elsewhere) {
  start_node("n1");
  current = seat();
  ASSERT_TRUE(eventually([&] { return home() == "n1"; }));
  tell_never();
  cut("n1");
  EXPECT_EQ(end_of_seat(), caf::make_error(caf::exit_reason::remote_link_unreachable)) << "its node went: no fault of its own";
  current = seat();
  EXPECT_EQ(home(), "head");
  current = nullptr;
}

TEST_F(remote_agents, an_agent_that_dies_on_its_node_is_started_elsewhere_for_a_while) {
  start_node("n1");
  current = seat();
  ASSERT_TRUE(eventually([&] { return home() == "n1"; }));
  cafx::anon_send(current, run_step{"g", "die", {}, {}, {}, 1});
  EXPECT_EQ(end_of_seat(), caf::make_error(caf::exit_reason::kill)) << "as if it had died here";
  current = seat();
  EXPECT_EQ(home(), "head");
  current = nullptr;
}

TEST_F(remote_agents, a_node_that_cannot_start_it_or_does_not_share_files_gets_none) {
  start_node("n1", false);
  current = seat();
  EXPECT_EQ(home(), "head");
  agent_host_options o;
  o.gate = spawn_wire(*system, net, "n2");
  o.time = &system_clock();
  o.shares_files = [](const std::string&) { return true; };
  o.log = [](const std::string&) {};
  hosts["n2"] = spawn_agent_host(*system, std::move(o)); // which makes no agents
  net->connect("n2", caf::actor_cast<caf::actor>(hosts["n2"]));
  tell(hosts["n2"], "head", true);
  EXPECT_EQ(home(), "head") << "also while it is tried there";
  EXPECT_EQ(home(), "head");
  current = nullptr;
}

TEST_F(remote_agents, a_placement_that_was_given_up_writes_nothing_and_is_not_answered) {
  current = seat();
  start_node("n1");
  ASSERT_TRUE(eventually([&] { return home() == "n1"; }));
  // A node that was frozen speaks again in the agent's name: the same node, another node, an older placement, one to come.
  caf::scoped_actor self{*system};
  const auto say = [&](const std::string& peer, std::uint64_t placement, const std::string& text) {
    event_draft d;
    d.text = text;
    letter_box box;
    json fields{{"drafts", json::array({{{"kind", "note"}, {"goal", ""}, {"step", ""}, {"subject", ""}, {"key", ""}, {"actor", "x"}, {"text", text}, {"body", "{}"}, {"epoch", 5}}})}};
    const json letter{{"op", "message"}, {"from", "hpo"}, {"placement", placement}, {"to", "journal"}, {"kind", "append"}, {"id", 1}, {"fields", fields}};
    const auto pieces = box.pieces(letter);
    cafx::request(self.ptr(), desk, seconds{10}, gate_call{peer, "node", "agents", pieces->at(0), 1000}).receive([](gate_answer&) {}, [](caf::error&) {});
  };
  const auto first = (5ULL << 20) + 1; // of the head's epoch
  say("n1", first + 1, "to come");
  say("n1", first - 1, "older");
  say("n2", first, "another node");
  say("n1", first, "rightful");
  EXPECT_TRUE(eventually([&] { return entries("rightful") == 1; })) << "under its placement it may";
  EXPECT_EQ(entries("to come") + entries("older") + entries("another node"), 0U);
  cut("n1");
  end_of_seat();
  say("n1", first, "after it was given up");
  say("n1", first, "garbage");
  current = seat();
  EXPECT_EQ(home(), "head");
  EXPECT_EQ(entries("after it was given up"), 0U);
  current = nullptr;
}

TEST_F(remote_agents, hostile_letters_are_answered_with_errors_and_change_nothing) {
  current = seat();
  start_node("n1");
  ASSERT_TRUE(eventually([&] { return home() == "n1"; }));
  caf::scoped_actor self{*system};
  letter_box box;
  const auto say = [&](const auto& to, const std::string& peer, const std::string& bytes) {
    cafx::request(self.ptr(), to, seconds{10}, gate_call{peer, "node", "agents", bytes, 1000}).receive([](gate_answer&) {}, [](caf::error& e) { ADD_FAILURE() << cafx::render(e); });
  };
  for (const auto& letter : {json{{"op", "message"}}, json{{"op", 7}}, json{{"op", "answer"}, {"id", 1}, {"problem", "text"}}, json{{"op", "gone"}, {"agent", 5}}, json{{"op", "place"}},
                             json{{"op", "remove"}, {"agent", "hpo"}}, json{{"op", "message"}, {"from", "hpo"}, {"placement", (5ULL << 20) + 1}, {"to", "journal"}, {"kind", "append"}, {"id", 3}, {"fields", {{"drafts", 5}}}},
                             json{{"op", "message"}, {"from", "hpo"}, {"placement", (5ULL << 20) + 1}, {"to", "trainer"}, {"kind", "order_trial"}, {"id", 4}, {"fields", {{"trial", 5}}}},
                             json{{"op", "message"}, {"from", "hpo"}, {"placement", (5ULL << 20) + 1}, {"to", "nobody"}, {"kind", "run_step"}, {"id", 5}, {"fields", json::object()}}}) {
    const auto pieces = box.pieces(letter);
    say(desk, "n1", pieces->at(0));
    say(hosts["n1"], "head", pieces->at(0));
    say(hosts["n1"], "n9", pieces->at(0)); // not its head
  }
  say(desk, "n1", "\xff\xff");
  say(hosts["n1"], "head", "");
  EXPECT_EQ(home(), "n1");
  current = nullptr;
}

TEST_F(remote_agents, a_drained_node_is_left_when_nobody_waits_for_the_agent) {
  current = seat();
  start_node("n1");
  ASSERT_TRUE(eventually([&] { return home() == "n1"; }));
  caf::scoped_actor self{*system};
  tell_never();
  EXPECT_EQ(home(), "n1");
  cafx::anon_send(desk, drain_node{"n1", {}});
  EXPECT_EQ(home(), "n1") << "somebody waits for its answer";
  EXPECT_EQ(home(), "n1");
  cut("n1");
  end_of_seat();
  current = seat();
  start_node("n2");
  EXPECT_TRUE(eventually([&] { return home() == "n2"; }));
  cafx::anon_send(desk, drain_node{"n2", {}});
  EXPECT_TRUE(eventually([&] { return home() == "head"; }));
  cafx::send(self.ptr(), current, stop_step{"g", "s", "r"});
  EXPECT_TRUE(eventually([&] { return entries("stopped on head") == 1; }));
  current = nullptr;
}
