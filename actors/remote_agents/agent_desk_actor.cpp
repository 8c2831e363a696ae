#include "actors/remote_agents/agent_desk_actor.hpp"

#include "actors/gate/gate_answers.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/log_format.hpp"
#include "actors/protocol/own_thread.hpp"
#include "actors/remote_agents/agent_messages.hpp"
#include "actors/remote_agents/agent_placement.hpp"
#include "actors/remote_agents/letter_line.hpp"
#include "actors/remote_agents/remote_log_actor.hpp"

#include <cstdio>

namespace flywheel {
namespace {

using nlohmann::json;

/// A page of the journal holds at least one entry, and no more once it is so large.
constexpr std::size_t page_bytes_max = 4u << 20;
/// Placements of one life of the head: behind its epoch, so that those of two lives never meet.
constexpr unsigned placements_bits = 20;

struct seat_entry {
  caf::actor seat;
  std::string node;                ///< empty: here
  std::uint64_t placement = 0;
  bool starting = false;           ///< a node is asked to start it
  bool told_to_move = false;
};

struct question {
  std::string agent, node;
  caf::typed_response_promise<gate_answer> promise;                     ///< of an agent's message
  std::function<void(const gate_answer&)> then;                         ///< instead, for the desk's own
};

struct desk_state {
  static inline const char* name = "agent desk";
  agent_desk_options options;
  std::optional<letter_line> line;
  std::optional<scribe> log;
  agent_placement places;
  std::map<std::string, seat_entry> seats;
  std::map<std::string, std::string> noted;                             ///< the place of each agent that was last written down
  std::map<std::uint64_t, question> questions;
  std::uint64_t last_question = 0, last_placement = 0;
  cafx::monitors watch;
  std::optional<mono_time> armed;

  mono_time now() const { return options.context->time->mono(); }
};
using self_pointer = agent_desk_agent::stateful_pointer<desk_state>;

void place(self_pointer self, const std::string& agent, caf::typed_response_promise<seat_given> promise);
void settle_in(self_pointer self);

// ---- letters out ---------------------------------------------------------------------------------------------------------------

void close_question(self_pointer self, std::uint64_t id, const gate_answer& a) {
  auto& st = self->state;
  const auto i = st.questions.find(id);
  if (i == st.questions.end())
    return;
  auto q = std::move(i->second);
  st.questions.erase(i);
  if (q.then)
    q.then(a);
  else
    q.promise.deliver(a);
}

std::uint64_t open_question(self_pointer self, question q) {
  auto& st = self->state;
  st.questions.emplace(++st.last_question, std::move(q));
  return st.last_question;
}

void send_question(self_pointer self, const std::string& node, std::uint64_t id, const json& letter) {
  self->state.line->send(self, node, letter, [=](const error& e) { close_question(self, id, failure(e)); });
}

/// Nobody is hurt if it does not arrive: the node has lost its connection, and with it the agent.
void tell(self_pointer self, const std::string& node, const json& letter) {
  self->state.line->send(self, node, letter, [](const error&) {});
}

// ---- where agents live ------------------------------------------------------------------------------------------------------------

/// What was asked of an agent that has gone is asked again by whoever hears of its restart, as when agents die on the head.
void drop_questions(self_pointer self, const std::string& agent) {
  std::erase_if(self->state.questions, [&](const auto& q) { return q.second.agent == agent && !q.second.then; });
}

/// The agent is not where it was any more. What it still says counts nothing.
void end_placement(self_pointer self, const std::string& agent, seat_entry& s) {
  auto& st = self->state;
  if (s.node.empty())
    return;
  tell(self, s.node, {{"op", "remove"}, {"agent", agent}, {"placement", s.placement}});
  s.node.clear();
  s.placement = 0;
  s.starting = false;
  st.places.remove(agent);
  drop_questions(self, agent);
}

/// Written down when it changes, for people; nothing depends on it.
void note_place(self_pointer self, const std::string& agent, const std::string& node, std::uint64_t placement) {
  auto& st = self->state;
  if (std::exchange(st.noted[agent], node) == node)
    return;
  auto draft = st.log->draft(event_kind::agent_state, {}, {}, agent, "agent " + agent + " works on " + (node.empty() ? "the head" : node),
                             {{"state", "placed"}, {"node", node}, {"placement", placement}});
  st.options.context->log->append_async({std::move(draft)}, [](const result<std::uint64_t>&) {});
}

void placed(self_pointer self, const std::string& agent, const std::string& node, std::uint64_t placement, caf::typed_response_promise<seat_given> promise,
            const gate_answer& a) {
  auto& st = self->state;
  const auto s = st.seats.find(agent);
  if (s == st.seats.end() || s->second.placement != placement) { // its seat has ended meanwhile
    tell(self, node, {{"op", "remove"}, {"agent", agent}, {"placement", placement}});
    promise.deliver(seat_given{});
    return;
  }
  s->second.starting = false;
  if (a.problem) {
    const auto why = a.problem.to_error();
    std::fprintf(stderr, "flywheel: agent %s could not be started on %s: %s\n", agent.c_str(), node.c_str(), why.to_string().c_str());
    tell(self, node, {{"op", "remove"}, {"agent", agent}, {"placement", placement}}); // it may have been started all the same
    st.places.failed(agent, node, st.now());
    st.places.remove(agent);
    s->second.node.clear();
    s->second.placement = 0;
    return place(self, agent, promise);
  }
  note_place(self, agent, node, placement);
  promise.deliver(seat_given{{}, node, placement});
  settle_in(self);
}

void place(self_pointer self, const std::string& agent, caf::typed_response_promise<seat_given> promise) {
  auto& st = self->state;
  auto& s = st.seats[agent];
  const auto node = st.places.choose(agent, st.now());
  st.places.put(agent, node);
  if (node == agent_placement::head) {
    note_place(self, agent, node, 0);
    promise.deliver(seat_given{});
    return settle_in(self);
  }
  s.node = node;
  s.placement = ++st.last_placement;
  s.starting = true;
  const auto& context = *st.options.context;
  const auto id = open_question(self, {agent, node, {}, [=, placement = s.placement](const gate_answer& a) { placed(self, agent, node, placement, promise, a); }});
  send_question(self, node, id, {{"op", "place"}, {"id", id}, {"agent", agent}, {"placement", s.placement}, {"epoch", context.epoch},
                                 {"state", context.layout.root.string()}, {"slots", context.slots()}});
}

caf::result<seat_given> give_seat(self_pointer self, const seat_wish& m) {
  auto& st = self->state;
  const auto seat = caf::actor_cast<caf::actor>(self->current_sender());
  auto& s = st.seats[m.agent];
  if (s.seat != seat) {
    end_placement(self, m.agent, s);
    st.places.remove(m.agent);
    s.seat = seat;
    st.watch.add(self, seat, [=](const caf::error&) {
      const auto i = self->state.seats.find(m.agent);
      if (i == self->state.seats.end() || i->second.seat != seat)
        return;
      end_placement(self, m.agent, i->second);
      self->state.places.remove(m.agent);
      self->state.seats.erase(i);
    });
  }
  end_placement(self, m.agent, s);
  s.told_to_move = false;
  auto promise = self->make_response_promise<seat_given>();
  place(self, m.agent, promise);
  return promise;
}

/// Asks seats to move until all are where they should be; one at a time, for each move changes what is best for the others.
void settle_in(self_pointer self) {
  auto& st = self->state;
  std::map<std::string, bool> mobile;
  for (const auto& [agent, s] : st.seats) {
    if (s.starting || s.told_to_move)
      return;
    mobile[agent] = true;
  }
  if (const auto move = st.places.next_move(st.now(), mobile)) {
    auto& s = st.seats.at(move->agent);
    s.told_to_move = true;
    cafx::anon_send(s.seat, seat_move{move->reason});
    return;
  }
  if (const auto next = st.places.next_look(st.now()); next && (!st.armed || *next < *st.armed)) {
    st.armed = next;
    cafx::delayed_send(self, self, *next - st.now() + std::chrono::milliseconds{1}, tick_atom_v);
  }
}

/// A node's agents are gone with it: their seats end, and the supervisor makes new ones.
void lose_node(self_pointer self, const std::string& node, const std::string& why) {
  auto& st = self->state;
  st.line->forget(node);
  st.places.withdraw(node);
  std::vector<std::uint64_t> asked;
  for (const auto& [id, q] : st.questions)
    if (q.node == node)
      asked.push_back(id);
  for (auto& [agent, s] : st.seats)
    if (s.node == node && !s.starting) { // one that is being started hears it from the letter that failed
      s.node.clear();
      s.placement = 0;
      drop_questions(self, agent);
      self->send_exit(s.seat, caf::exit_reason::remote_link_unreachable);
    }
  for (const auto id : asked)
    close_question(self, id, failure(error{errc::unreachable, "node " + node + " went: " + why, node}));
}

// ---- letters in ---------------------------------------------------------------------------------------------------------------------

void send_answer(self_pointer self, const std::string& peer, std::uint64_t id, const fault& problem, const json& fields) {
  if (id != 0)
    self->state.line->send(self, peer, answer_letter(id, problem, fields), [=](const error& e) {
      if (e.code == errc::too_large) // the only failure that asking again would not mend
        self->state.line->send(self, peer, answer_letter(id, fault{e}, json::object()), [](const error&) {});
    });
}

std::string packed(const json& fields) {
  std::string bytes;
  json::to_msgpack(fields, bytes);
  return bytes;
}

void append(self_pointer self, const std::string& peer, std::uint64_t id, const json& fields) {
  auto drafts = log_format::drafts_from(fields.value("drafts", json{}));
  if (!drafts)
    return send_answer(self, peer, id, drafts.error(), json::object());
  const agent_desk_agent me{self};
  self->state.options.context->log->append_async(std::move(*drafts), [=](const result<std::uint64_t>& seq) {
    letter_answer a{peer, id, {}, {}};
    if (seq)
      a.body = packed({{"seq", *seq}});
    else
      a.problem = seq.error();
    cafx::anon_send(me, std::move(a));
  });
}

/// On a thread of its own: it may be long.
void read(self_pointer self, const std::string& peer, std::uint64_t id, const json& fields) {
  const auto filter = log_format::filter_from(fields.value("filter", json{}));
  if (!filter)
    return send_answer(self, peer, id, filter.error(), json::object());
  const agent_desk_agent me{self};
  spawn_on_own_thread(self->home_system(), [=, log = self->state.options.context->log, f = *filter](caf::event_based_actor* job) {
    const auto found = log_format::page(*log, f, page_bytes_max);
    letter_answer a{peer, id, {}, {}};
    if (found)
      a.body = packed(*found);
    else
      a.problem = found.error();
    cafx::anon_send(me, std::move(a));
    job->quit();
  });
}

caf::actor handle_of(const agent_directory::parts& p, const std::string& agent) {
  const auto of = [](const auto& handle) { return caf::actor_cast<caf::actor>(handle); };
  if (agent == "data_steward")
    return of(p.data_steward);
  if (agent == "architect")
    return of(p.architect);
  if (agent == "hpo")
    return of(p.hpo);
  if (agent == "trainer")
    return of(p.trainer);
  if (agent == "evaluator")
    return of(p.evaluator);
  return {};
}

void message(self_pointer self, const std::string& peer, const json& letter) {
  auto& st = self->state;
  const auto from = text_in(letter, "from"), to = text_in(letter, "to"), kind = text_in(letter, "kind");
  const auto id = number_in(letter, "id");
  const auto s = st.seats.find(from);
  if (s == st.seats.end() || s->second.node != peer || s->second.placement != number_in(letter, "placement"))
    return send_answer(self, peer, id, error{errc::stale_epoch, "agent " + from + " lives elsewhere now; what it says from " + peer + " is not taken", peer}, json::object());
  const auto fields = map_in(letter, "fields");
  if (to == journal_address) {
    if (kind == append_kind)
      return append(self, peer, id, fields);
    if (kind == read_kind)
      return read(self, peer, id, fields);
    return send_answer(self, peer, id, error{errc::unsupported, "the journal does not understand '" + kind + "'"}, json::object());
  }
  const auto handle = handle_of(st.options.context->agents->now(), to);
  if (!handle)
    return send_answer(self, peer, id, error{errc::not_found, "there is no agent '" + to + "' to speak to"}, json::object());
  agent_messages::deliver(self, handle, kind, fields, [=](const fault& problem, const json& answer) { send_answer(self, peer, id, problem, answer); });
}

void gone(self_pointer self, const std::string& peer, const json& letter) {
  auto& st = self->state;
  const auto agent = text_in(letter, "agent");
  const auto s = st.seats.find(agent);
  if (s == st.seats.end() || s->second.node != peer || s->second.placement != number_in(letter, "placement"))
    return;
  st.places.failed(agent, peer, st.now());
  std::fprintf(stderr, "flywheel: agent %s ended on %s: %s\n", agent.c_str(), peer.c_str(), text_in(letter, "cause").c_str());
  drop_questions(self, agent);
  self->send_exit(s->second.seat, caf::exit_reason::kill);
}

gate_answer take(self_pointer self, const gate_call& m) {
  auto& st = self->state;
  auto letter = st.line->take(m);
  if (!letter)
    return failure(letter.error());
  if (!*letter)
    return {};
  const auto& l = **letter;
  const auto op = text_in(l, "op");
  if (op == "offer") {
    st.places.offer(m.peer);
    settle_in(self);
  } else if (op == "gone") {
    gone(self, m.peer, l);
  } else if (op == "message") {
    message(self, m.peer, l);
  } else if (op == "answer") {
    const auto q = st.questions.find(number_in(l, "id"));
    if (q != st.questions.end() && q->second.node == m.peer)
      close_question(self, q->first, read_answer(l));
  } else {
    return failure(error{errc::unsupported, "nodes do not write '" + op + "' letters"});
  }
  return {};
}

/// From a seat, to its agent on another node.
caf::result<gate_answer> carry(self_pointer self, const agent_message& m) {
  auto& st = self->state;
  const auto s = st.seats.find(m.to);
  if (s == st.seats.end() || s->second.node.empty() || s->second.placement != m.placement)
    return failure(error{errc::interrupted, "agent " + m.to + " is not there any more"});
  auto promise = self->make_response_promise<gate_answer>();
  const auto id = open_question(self, {m.to, s->second.node, promise, {}});
  send_question(self, s->second.node, id, message_letter(m, id, st.options.context->slots()));
  return promise;
}

gate_answer list(self_pointer self) {
  json agents = json::object();
  for (const auto& [agent, s] : self->state.seats)
    agents[agent] = s.node;
  gate_answer a;
  a.body = agents.dump();
  return a;
}

agent_desk_agent::behavior_type desk(self_pointer self, const agent_desk_options& options) {
  auto& st = self->state;
  st.options = options;
  st.line.emplace(options.gate);
  st.log.emplace(*options.context, "agent desk");
  st.last_placement = options.context->epoch << placements_bits;
  return {
      [=](const gate_call& m) { return take(self, m); },
      [](const gate_note&) {},
      [=](const peer_state& m) {
        if (!m.connected)
          lose_node(self, m.peer, m.problem.what);
        return gate_answer{};
      },
      [=](const drain_node& m) {
        self->state.places.drain(m.node);
        settle_in(self);
        return acknowledgement{};
      },
      [=](const agent_message& m) { return carry(self, m); },
      [=](const seat_wish& m) { return give_seat(self, m); },
      [=](const letter_answer& m) { send_answer(self, m.peer, m.id, m.problem, m.problem ? json::object() : json::from_msgpack(m.body, true, false)); },
      [=](const list_nodes&) { return list(self); },
      [=](tick_atom) {
        self->state.armed.reset();
        settle_in(self);
      },
  };
}

} // namespace

agent_desk_agent spawn_agent_desk(caf::actor_system& system, agent_desk_options options) { return system.spawn(desk, std::move(options)); }

} // namespace flywheel
