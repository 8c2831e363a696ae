#include "actors/remote_agents/agent_host_actor.hpp"

#include "actors/gate/gate_answers.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/remote_agents/agent_messages.hpp"
#include "actors/remote_agents/agent_proxy_actor.hpp"
#include "actors/remote_agents/letter_line.hpp"
#include "actors/remote_agents/remote_log_actor.hpp"

namespace flywheel {
namespace {

using nlohmann::json;

/// An agent that lives here, and its world.
struct tenant {
  std::string name;
  std::uint64_t placement = 0;
  agent_directory directory;
  std::unique_ptr<remote_log> log;
  std::shared_ptr<std::atomic<unsigned>> slots = std::make_shared<std::atomic<unsigned>>(1);
  agent_context context;
  std::vector<caf::actor> proxies;
  caf::actor agent;
};

struct host_state {
  static inline const char* name = "agent host";
  agent_host_options options;
  std::optional<letter_line> line;
  std::string head;                                 ///< its name while connected
  std::map<std::string, std::shared_ptr<tenant>> tenants;
  std::map<std::uint64_t, caf::typed_response_promise<gate_answer>> questions;
  std::uint64_t last_question = 0;
  cafx::monitors watch;
};
using self_pointer = agent_host_agent::stateful_pointer<host_state>;

void tell(self_pointer self, const json& letter) {
  auto& st = self->state;
  if (!st.head.empty())
    st.line->send(self, st.head, letter, [](const error&) {});
}

void send_answer(self_pointer self, std::uint64_t id, const fault& problem, const json& fields) {
  auto& st = self->state;
  if (id != 0 && !st.head.empty())
    st.line->send(self, st.head, answer_letter(id, problem, fields), [=](const error& e) {
      if (e.code == errc::too_large) // the only failure that asking again would not mend
        tell(self, answer_letter(id, fault{e}, json::object()));
    });
}

// ---- tenants ---------------------------------------------------------------------------------------------------------------------

void evict(self_pointer self, std::map<std::string, std::shared_ptr<tenant>>::iterator i) {
  auto& st = self->state;
  const auto t = i->second;
  st.tenants.erase(i);
  self->send_exit(t->agent, caf::exit_reason::kill);
  for (const auto& p : t->proxies)
    self->send_exit(p, caf::exit_reason::user_shutdown);
  t->directory.clear();
  t->proxies.clear();
  t->agent = nullptr;
}

void evict_all(self_pointer self) {
  while (!self->state.tenants.empty())
    evict(self, self->state.tenants.begin());
}

void ended(self_pointer self, const std::shared_ptr<tenant>& t, const caf::error& e) {
  const auto i = self->state.tenants.find(t->name);
  if (i == self->state.tenants.end() || i->second != t)
    return;
  tell(self, {{"op", "gone"}, {"agent", t->name}, {"placement", t->placement}, {"cause", cafx::render(e)}});
  evict(self, i);
}

template <class Handle> void connect(self_pointer self, tenant& t, Handle agent_directory::parts::*part, const char* to) {
  auto proxy = spawn_agent_proxy(self->home_system(), agent_router{self}, t.name, t.placement, to);
  t.directory.set(part, caf::actor_cast<Handle>(proxy));
  t.proxies.push_back(std::move(proxy));
}

status settle(self_pointer self, const json& letter) {
  auto& st = self->state;
  const auto name = text_in(letter, "agent");
  const auto placement = number_in(letter, "placement");
  const auto maker = st.options.make.find(name);
  if (maker == st.options.make.end())
    return error{errc::unsupported, "this node cannot run an agent '" + name + "'", {}, "use the same version of flywheel on all nodes"};
  if (const auto i = st.tenants.find(name); i != st.tenants.end()) {
    if (i->second->placement == placement)
      return success();
    evict(self, i);
  }
  const auto t = std::make_shared<tenant>();
  st.options.worlds->push_back(t);
  t->name = name;
  t->placement = placement;
  t->log = std::make_unique<remote_log>(self->home_system(), agent_host_agent{self}, name, placement);
  t->slots->store(static_cast<unsigned>(std::max<std::uint64_t>(1, number_in(letter, "slots"))));
  t->context.layout.root = text_in(letter, "state");
  t->context.epoch = number_in(letter, "epoch");
  t->context.log = t->log.get();
  t->context.time = st.options.time;
  t->context.agents = &t->directory;
  t->context.code = st.options.code;
  t->context.cores = st.options.cores;
  t->context.cluster_slots = t->slots;
  using parts = agent_directory::parts;
  connect(self, *t, &parts::data_steward, "data_steward");
  connect(self, *t, &parts::architect, "architect");
  connect(self, *t, &parts::hpo, "hpo");
  connect(self, *t, &parts::trainer, "trainer");
  connect(self, *t, &parts::evaluator, "evaluator");
  t->agent = maker->second(self->home_system(), t->context);
  st.tenants[name] = t;
  st.watch.add(self, t->agent, [=](const caf::error& e) { ended(self, t, e); });
  st.options.log("agent " + name + " lives here now (placement " + std::to_string(placement) + ")");
  return success();
}

void message(self_pointer self, const json& letter) {
  auto& st = self->state;
  const auto to = text_in(letter, "to");
  const auto id = number_in(letter, "id");
  const auto i = st.tenants.find(to);
  if (i == st.tenants.end() || i->second->placement != number_in(letter, "placement"))
    return send_answer(self, id, error{errc::stale_epoch, "agent " + to + " does not live here under that placement"}, json::object());
  if (const auto slots = number_in(letter, "slots"); slots != 0)
    i->second->slots->store(static_cast<unsigned>(slots));
  agent_messages::deliver(self, i->second->agent, text_in(letter, "kind"), map_in(letter, "fields"),
                          [=](const fault& problem, const json& answer) { send_answer(self, id, problem, answer); });
}

// ---- the head speaks ----------------------------------------------------------------------------------------------------------------

gate_answer take(self_pointer self, const gate_call& m) {
  auto& st = self->state;
  if (m.peer != st.head)
    return failure(error{errc::not_allowed, "this node takes agents of its head only", m.peer});
  auto letter = st.line->take(m);
  if (!letter)
    return failure(letter.error());
  if (!*letter)
    return {};
  const auto& l = **letter;
  const auto op = text_in(l, "op");
  if (op == "place") {
    const auto ok = settle(self, l);
    send_answer(self, number_in(l, "id"), ok ? fault{} : fault{ok.error()}, json::object());
  } else if (op == "remove") {
    const auto i = st.tenants.find(text_in(l, "agent"));
    if (i != st.tenants.end() && i->second->placement == number_in(l, "placement"))
      evict(self, i);
  } else if (op == "message") {
    message(self, l);
  } else if (op == "answer") {
    if (const auto q = st.questions.find(number_in(l, "id")); q != st.questions.end()) {
      auto promise = q->second;
      st.questions.erase(q);
      promise.deliver(read_answer(l));
    }
  } else {
    return failure(error{errc::unsupported, "heads do not write '" + op + "' letters"});
  }
  return {};
}

void lose_head(self_pointer self, const std::string& why) {
  auto& st = self->state;
  if (!st.tenants.empty())
    st.options.log("the agents that lived here are ended (" + why + "): the head has them started elsewhere");
  st.line->forget(st.head);
  st.head.clear();
  evict_all(self);
  auto open = std::exchange(st.questions, {});
  for (auto& [id, promise] : open)
    promise.deliver(failure(error{errc::unreachable, "the connection to the head is lost: " + why}));
}

gate_answer peer(self_pointer self, const peer_state& m) {
  auto& st = self->state;
  if (!m.dialled)
    return {};
  if (!m.connected) {
    if (m.peer == st.head)
      lose_head(self, m.problem.what);
    return {};
  }
  if (!st.head.empty())
    lose_head(self, "it connected anew");
  st.head = m.peer;
  if (st.options.shares_files(m.text))
    tell(self, {{"op", "offer"}});
  return {};
}

/// From a proxy or a log of a tenant, to the head.
caf::result<gate_answer> carry(self_pointer self, const agent_message& m) {
  auto& st = self->state;
  const auto i = st.tenants.find(m.from);
  if (i == st.tenants.end() || i->second->placement != m.placement)
    return failure(error{errc::stale_epoch, "agent " + m.from + " does not live here any more"});
  auto promise = self->make_response_promise<gate_answer>();
  const auto id = ++st.last_question;
  st.questions.emplace(id, promise);
  st.line->send(self, st.head, message_letter(m, id, 0), [=](const error& e) {
    if (const auto q = self->state.questions.find(id); q != self->state.questions.end()) {
      auto p = q->second;
      self->state.questions.erase(q);
      p.deliver(failure(e));
    }
  });
  return promise;
}

agent_host_agent::behavior_type host(self_pointer self, const agent_host_options& options) {
  auto& st = self->state;
  st.options = options;
  st.line.emplace(options.gate);
  self->set_exit_handler([self](caf::exit_msg& m) {
    lose_head(self, "this node ends");
    self->quit(m.reason);
  });
  return {
      [=](const gate_call& m) { return take(self, m); },
      [](const gate_note&) {},
      [=](const peer_state& m) { return peer(self, m); },
      [=](const agent_message& m) { return carry(self, m); },
  };
}

} // namespace

agent_host_agent spawn_agent_host(caf::actor_system& system, agent_host_options options) { return system.spawn(host, std::move(options)); }

} // namespace flywheel
