#include "actors/gate/gate_actor.hpp"

#include "actors/gate/access_policy.hpp"
#include "actors/protocol/own_thread.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace flywheel {
namespace {

using gate::envelope;
using gate::envelope_kind;
using arrival = gate::peer_link::arrival;

constexpr nanoseconds dial_pause_min = std::chrono::milliseconds{50}, dial_pause_max = std::chrono::seconds{2};

struct connection {
  gate_port remote;
  std::string address;                           ///< as dialled; empty: the peer dialled us
  std::uint64_t session = 0;                     ///< tells this connection from a later one of the same remote
  std::optional<gate::dialler_handshake> dialling;
  std::optional<gate::acceptor_handshake> accepting;
  std::optional<gate::peer_link> link;           ///< once the handshake is over
  gate::peer_identity peer;
  std::string name;                              ///< under which others speak to it
  bool admitting = false;                        ///< somebody is asked whether it may come in
  mono_time handshake_until;
  std::map<std::uint64_t, caf::typed_response_promise<gate_answer>> promises; ///< by call
};

struct target {
  std::string host;
  std::uint16_t port = 0;
  bool busy = false;                             ///< dialled, or connected
  nanoseconds pause = dial_pause_min;
  mono_time next;
};

struct gate_state {
  static inline const char* name = "gate";
  gate_options options;
  std::map<caf::actor_addr, connection> connections;
  std::map<std::string, caf::actor_addr> peers;  ///< by name
  std::map<std::string, target> targets;         ///< by address
  std::uint64_t sessions = 0, guests = 0;
  cafx::monitors watch;
  std::optional<mono_time> armed;

  mono_time now() const { return options.time->mono(); }
};
using self_pointer = gate_agent::stateful_pointer<gate_state>;

connection* find(gate_state& st, const caf::actor_addr& a, std::uint64_t session) {
  const auto i = st.connections.find(a);
  return i != st.connections.end() && i->second.session == session ? &i->second : nullptr;
}
connection* find(gate_state& st, const std::string& peer) {
  const auto i = st.peers.find(peer);
  const auto c = i == st.peers.end() ? st.connections.end() : st.connections.find(i->second);
  return c == st.connections.end() ? nullptr : &c->second;
}

/// Wakes the gate for what is due next.
void arm(self_pointer self) {
  auto& st = self->state;
  std::optional<mono_time> next;
  const auto consider = [&](mono_time t) { next = next ? std::min(*next, t) : t; };
  for (const auto& [address, t] : st.targets)
    if (!t.busy)
      consider(t.next);
  for (const auto& [a, c] : st.connections) {
    if (!c.link)
      consider(c.handshake_until);
    else if (const auto expiry = c.link->next_expiry())
      consider(*expiry);
  }
  if (!next || (st.armed && *st.armed <= *next))
    return;
  st.armed = next;
  cafx::delayed_send(self, self, std::max(nanoseconds{0}, *next - st.now()) + std::chrono::milliseconds{1}, tick_atom_v);
}

void transmit(self_pointer self, const connection& c, const envelope& e) { cafx::send(self, c.remote, gate_frame{gate::encode(e)}); }

void flush(self_pointer self, connection& c) {
  if (c.link)
    for (const auto& e : c.link->take_outgoing())
      transmit(self, c, e);
  arm(self);
}

peer_state state_of(const connection& c, bool connected) {
  peer_state m;
  m.peer = c.name;
  m.role = std::string{name_of(c.peer.who.as)};
  m.text = c.peer.greeting;
  m.incarnation = c.peer.incarnation;
  m.connected = connected;
  m.dialled = !c.address.empty();
  return m;
}

/// Tells every service who came or went.
void announce(self_pointer self, const peer_state& m) {
  for (const auto& service : self->state.options.services->all())
    cafx::anon_send(service, m);
}

void dial_again(gate_state& st, const std::string& address, bool soon) {
  const auto i = st.targets.find(address);
  if (i == st.targets.end())
    return;
  auto& t = i->second;
  t.busy = false;
  t.pause = soon ? dial_pause_min : std::min(dial_pause_max, t.pause * 2);
  t.next = st.now() + t.pause;
}

/// Ends a connection: what waits is failed, and whoever counted on the peer is told - unless a newer connection takes its place.
void drop(self_pointer self, caf::actor_addr a, const error& why, bool replaced = false) {
  auto& st = self->state;
  const auto i = st.connections.find(a);
  if (i == st.connections.end())
    return;
  connection c = std::move(i->second);
  st.connections.erase(i);
  const bool was_up = c.link.has_value();
  if (const auto p = st.peers.find(c.name); p != st.peers.end() && p->second == a)
    st.peers.erase(p);
  for (auto& [call, promise] : c.promises) {
    gate_answer failed;
    failed.problem = error{errc::unreachable, "the connection to " + c.name + " ended: " + why.what, c.name,
                           "it may or may not have been done: ask again"};
    promise.deliver(std::move(failed));
  }
  dial_again(st, c.address, was_up);
  if (!replaced && (was_up || !c.address.empty())) {
    auto m = state_of(c, false);
    if (m.peer.empty())
      m.peer = c.address;
    m.problem = why;
    announce(self, m);
  }
  arm(self);
}

void refuse(self_pointer self, connection& c, const error& why) {
  const auto who = c.name.empty() ? c.peer.who.name.empty() ? "somebody" : c.peer.who.name : c.name;
  self->state.options.denied(who, why);
  envelope e;
  e.kind = envelope_kind::refuse;
  e.incarnation = self->state.options.credentials.incarnation;
  e.problem = why;
  transmit(self, c, e);
  drop(self, c.remote.address(), why);
}

void open_link(self_pointer self, connection& c) {
  auto& st = self->state;
  const auto& who = c.peer.who;
  c.name = who.as == role::node ? who.name : who.name + "#" + std::to_string(++st.guests); // a person may have several terminals
  if (auto* older = find(st, c.name); older != nullptr && older != &c)
    drop(self, older->remote.address(), error{errc::stale_epoch, "it connected anew"}, true);
  c.link.emplace(st.options.credentials.incarnation, c.peer.incarnation, st.options.limits);
  st.peers[c.name] = c.remote.address();
}

// ---- the handshake --------------------------------------------------------------------------------------------------

void admitted(self_pointer self, caf::actor_addr a, std::uint64_t session, const gate_answer& answer) {
  auto* c = find(self->state, a, session);
  if (c == nullptr || !c->accepting)
    return;
  if (answer.problem)
    return refuse(self, *c, answer.problem.to_error());
  transmit(self, *c, c->accepting->welcome(answer.body));
  c->accepting.reset();
  open_link(self, *c);
  arm(self);
}

void ask_admission(self_pointer self, connection& c) {
  c.admitting = true;
  const auto service = self->state.options.services->find(std::string{gate::cluster_service});
  if (!service)
    return admitted(self, c.remote.address(), c.session, {});
  auto m = state_of(c, true);
  m.peer = c.peer.who.name;
  const auto a = c.remote.address();
  const auto session = c.session;
  cafx::request(self, service, std::chrono::seconds{5}, m)
      .then([=](const gate_answer& answer) { admitted(self, a, session, answer); },
            [=](const caf::error& e) {
              gate_answer failed;
              failed.problem = error{errc::unreachable, "the head's agents do not answer: " + cafx::render(e), {}, "try again"};
              admitted(self, a, session, failed);
            });
}

status shake_hands(self_pointer self, connection& c, const envelope& e) {
  auto& st = self->state;
  const auto now = st.options.time->wall();
  if (c.dialling) {
    if (e.kind == envelope_kind::challenge) {
      FLYWHEEL_TRY(const auto proof, c.dialling->answer(e, now));
      transmit(self, c, proof);
      return success();
    }
    if (e.kind == envelope_kind::refuse)
      return e.problem;
    if (e.kind != envelope_kind::welcome || c.dialling->peer().who.name.empty())
      return error{errc::protocol_violation, "a " + std::string{name_of(e.kind)} + " in the middle of the handshake"};
    c.peer = c.dialling->peer();
    c.peer.greeting = e.body;
    c.dialling.reset();
    open_link(self, c);
    announce(self, state_of(c, true));
    return success();
  }
  if (c.admitting)
    return error{errc::protocol_violation, "a " + std::string{name_of(e.kind)} + " before the welcome"};
  if (e.kind == envelope_kind::hello) {
    FLYWHEEL_TRY(const auto challenge, c.accepting->challenge(e, now));
    transmit(self, c, challenge);
    return success();
  }
  FLYWHEEL_TRY(c.peer, c.accepting->accept(e));
  ask_admission(self, c);
  return success();
}

connection& meet(self_pointer self, const gate_port& remote, const std::string& address) {
  auto& st = self->state;
  const auto a = remote.address();
  st.connections.erase(a);
  auto& c = st.connections[a];
  c.remote = remote;
  c.address = address;
  c.session = ++st.sessions;
  c.handshake_until = st.now() + st.options.handshake_within;
  const auto session = c.session;
  st.watch.add(self, remote, [=](const caf::error& e) {
    if (find(self->state, a, session) != nullptr)
      drop(self, a, error{errc::unreachable, "the connection closed (" + cafx::render(e) + ")"});
  });
  arm(self);
  return c;
}

// ---- messages of peers -----------------------------------------------------------------------------------------------

void answer_call(self_pointer self, caf::actor_addr a, std::uint64_t session, std::uint64_t call, const gate_answer& answer) {
  if (auto* c = find(self->state, a, session); c != nullptr && c->link) {
    c->link->answer(call, answer.body, answer.problem ? answer.problem.to_error() : error{errc::ok, {}});
    flush(self, *c);
  }
}

void serve_call(self_pointer self, connection& c, arrival& m) {
  const auto a = c.remote.address();
  const auto session = c.session, call = m.call;
  const auto fail = [&](const error& why) {
    gate_answer refused;
    refused.problem = why;
    answer_call(self, a, session, call, refused);
  };
  if (!gate::may_use(c.peer.who.as, m.service)) {
    const error why{errc::not_allowed, "a " + std::string{name_of(c.peer.who.as)} + " may not speak to '" + printable(m.service, 64) + "'", c.name,
                    "use a certificate of another role"};
    self->state.options.denied(c.name, why);
    return fail(why);
  }
  const auto service = self->state.options.services->find(m.service);
  if (!service)
    return fail(error{errc::not_found, "this node does not serve '" + printable(m.service, 64) + "'", {}, "ask the head"});
  gate_call ask{c.name, std::string{name_of(c.peer.who.as)}, m.service, std::move(m.body), 0};
  const auto wait = std::clamp<nanoseconds>(m.wait, std::chrono::milliseconds{1}, std::chrono::minutes{10});
  ask.wait_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(wait).count());
  cafx::request(self, service, wait, std::move(ask))
      .then([=](const gate_answer& answer) { answer_call(self, a, session, call, answer); },
            [=](const caf::error& e) {
              gate_answer failed;
              failed.problem = error{errc::timed_out, "the service did not answer: " + cafx::render(e)};
              answer_call(self, a, session, call, failed);
            });
}

void take_in(self_pointer self, connection& c, arrival& m) {
  switch (m.is) {
  case arrival::what::note:
    if (gate::may_use(c.peer.who.as, m.service)) {
      if (const auto service = self->state.options.services->find(m.service))
        cafx::anon_send(service, gate_note{c.name, m.service, std::move(m.body)});
    } else {
      self->state.options.denied(c.name, error{errc::not_allowed, "a " + std::string{name_of(c.peer.who.as)} + " may not speak to '" + printable(m.service, 64) + "'", c.name});
    }
    return;
  case arrival::what::call: return serve_call(self, c, m);
  case arrival::what::answer:
    if (const auto i = c.promises.find(m.call); i != c.promises.end()) {
      auto promise = std::move(i->second);
      c.promises.erase(i);
      gate_answer answer;
      if (m.problem.code != errc::ok)
        answer.problem = m.problem;
      answer.body = std::move(m.body);
      promise.deliver(std::move(answer));
    }
    return;
  case arrival::what::nothing: return;
  }
}

void frame_arrived(self_pointer self, const gate_frame& frame) {
  auto& st = self->state;
  const auto remote = caf::actor_cast<gate_port>(self->current_sender());
  if (!remote)
    return; // nobody to answer, nobody to hold to account
  const auto a = remote.address();
  auto e = gate::decode(frame.bytes);
  // The same process on a new connection, before we have noticed that the old one is broken.
  if (const auto i = st.connections.find(a); e && e->kind == envelope_kind::hello && i != st.connections.end() && i->second.address.empty())
    drop(self, a, error{errc::stale_epoch, "it connected anew"}, true);
  if (!st.connections.contains(a)) {
    if (st.connections.size() >= st.options.peers_max) {
      const error full{errc::no_capacity, "more than " + std::to_string(st.options.peers_max) + " connections", {}, "try again later"};
      envelope no;
      no.kind = envelope_kind::refuse;
      no.problem = full;
      cafx::send(self, remote, gate_frame{gate::encode(no)});
      return st.options.denied("somebody", full);
    }
    meet(self, remote, {}).accepting.emplace(st.options.credentials);
  }
  auto& c = st.connections.at(a);
  if (!e)
    return refuse(self, c, e.error());
  if (!c.link) {
    if (const auto ok = shake_hands(self, c, *e); !ok) {
      if (e->kind == envelope_kind::refuse)
        drop(self, a, ok.error());
      else
        refuse(self, c, ok.error());
    }
    return;
  }
  if (e->kind == envelope_kind::goodbye)
    return drop(self, a, error{errc::cancelled, "it said goodbye"});
  if (e->kind == envelope_kind::refuse)
    return drop(self, a, e->problem);
  auto arrived = c.link->receive(std::move(*e));
  if (!arrived)
    return refuse(self, c, arrived.error());
  const auto session = c.session;
  take_in(self, c, *arrived);
  if (auto* still = find(st, a, session))
    flush(self, *still);
}

// ---- messages of this node --------------------------------------------------------------------------------------------

caf::result<gate_answer> ask(self_pointer self, const gate_ask& m) {
  auto& st = self->state;
  gate_answer refused;
  auto* c = find(st, m.peer);
  if (c == nullptr || !c->link) {
    refused.problem = error{errc::unreachable, "there is no connection to " + m.peer, m.peer, "try again when it is back"};
    return refused;
  }
  const auto call = c->link->call(m.service, m.body, st.now(), std::chrono::milliseconds{static_cast<std::int64_t>(m.wait_ms)});
  if (!call) {
    refused.problem = call.error();
    return refused;
  }
  auto promise = self->make_response_promise<gate_answer>();
  c->promises[*call] = promise;
  flush(self, *c);
  return promise;
}

void tell(self_pointer self, const gate_note& m) {
  auto* c = find(self->state, m.peer);
  if (c == nullptr || !c->link)
    return;
  if (const auto queued = c->link->note(m.service, m.body); !queued) // what is lost without a word would never be missed
    return refuse(self, *c, queued.error());
  flush(self, *c);
}

void dial(self_pointer self, const std::string& address, target& t) {
  t.busy = true;
  const auto connect = self->state.options.connect;
  const gate_agent me{self};
  spawn_on_own_thread(self->home_system(), [=, host = t.host, port = t.port](caf::event_based_actor* job) {
    const auto remote = connect(job->home_system(), host, port);
    cafx::send(job, caf::actor_cast<caf::actor>(me), dialled_atom_v, address, remote ? fault{} : fault{remote.error()}, remote ? *remote : caf::actor{});
    job->quit();
  });
}

void dialled(self_pointer self, const std::string& address, const fault& problem, const caf::actor& remote) {
  auto& st = self->state;
  if (!st.targets.contains(address))
    return;
  if (problem || !remote || st.connections.contains(remote.address())) {
    dial_again(st, address, false);
    peer_state m;
    m.peer = address;
    m.dialled = true;
    m.problem = problem ? problem : fault{error{errc::unreachable, "the node that listens there is connected already", address}};
    announce(self, m);
    return arm(self);
  }
  auto& c = meet(self, caf::actor_cast<gate_port>(remote), address);
  c.dialling.emplace(st.options.credentials, st.options.greeting);
  transmit(self, c, c.dialling->hello());
}

void renew(self_pointer self, const gate_renew& m) {
  auto& st = self->state;
  st.options.credentials.incarnation = m.incarnation;
  st.options.greeting = m.greeting;
  std::vector<caf::actor_addr> all;
  for (const auto& [a, c] : st.connections)
    all.push_back(a);
  for (const auto& a : all) {
    envelope goodbye;
    goodbye.kind = envelope_kind::goodbye;
    transmit(self, st.connections.at(a), goodbye);
    drop(self, a, error{errc::cancelled, "this node became incarnation " + std::to_string(m.incarnation)});
  }
}

void tick(self_pointer self) {
  auto& st = self->state;
  const auto now = st.now();
  std::vector<caf::actor_addr> late;
  for (auto& [a, c] : st.connections) {
    if (!c.link) {
      if (now >= c.handshake_until)
        late.push_back(a);
      continue;
    }
    for (const auto call : c.link->expire(now))
      if (const auto i = c.promises.find(call); i != c.promises.end()) {
        gate_answer failed;
        failed.problem = error{errc::timed_out, c.name + " did not answer in time", c.name, "it may or may not have been done: ask again"};
        i->second.deliver(std::move(failed));
        c.promises.erase(i);
      }
  }
  for (const auto& a : late)
    drop(self, a, error{errc::timed_out, "the handshake took longer than " + format_duration(st.options.handshake_within)});
  for (auto& [address, t] : st.targets)
    if (!t.busy && now >= t.next)
      dial(self, address, t);
  arm(self);
}

gate_agent::behavior_type gate_behaviour(self_pointer self, const gate_options& options) {
  self->state.options = options;
  return {
      [=](const gate_frame& m) { frame_arrived(self, m); },
      [=](const gate_dial& m) {
        auto& t = self->state.targets[m.host + ":" + std::to_string(m.port)];
        t.host = m.host;
        t.port = m.port;
        t.next = self->state.now();
        tick(self);
      },
      [=](dialled_atom, const std::string& address, const fault& problem, const caf::actor& remote) { dialled(self, address, problem, remote); },
      [=](const gate_ask& m) { return ask(self, m); },
      [=](const gate_note& m) { tell(self, m); },
      [=](const gate_renew& m) { renew(self, m); },
      [=](tick_atom) {
        if (const auto& at = self->state.armed; at && self->state.now() < *at)
          return; // an older one; the next is on its way
        self->state.armed.reset();
        tick(self);
      },
  };
}

} // namespace

gate_agent spawn_gate(caf::actor_system& system, gate_options options) { return system.spawn(gate_behaviour, std::move(options)); }

} // namespace flywheel
