#include "actors/remote_agents/agent_proxy_actor.hpp"

#include "actors/remote_agents/agent_messages.hpp"

namespace flywheel {
namespace {

using nlohmann::json;

/// Fields as they travel.
template <class M> std::string packed(const M& m) {
  std::string bytes;
  json::to_msgpack(agent_messages::fields_of(m), bytes);
  return bytes;
}

template <class Reply> void settle(caf::typed_response_promise<Reply> promise, const gate_answer& a) {
  auto reply = a.problem ? result<Reply>{a.problem.to_error()} : agent_messages::message_of<Reply>(json::from_msgpack(a.body, true, false));
  if (reply)
    promise.deliver(std::move(*reply));
  else
    promise.deliver(agent_messages::answerer_lost());
}

/// Sends what an agent is asked on through a router, and answers with what comes back.
template <class Self, class M, class Reply, class Done>
void ask_through(Self* self, const agent_router& router, const agent_message& envelope, const M& m, caf::typed_response_promise<Reply> promise, Done done) {
  auto message = envelope;
  message.fields = packed(m);
  cafx::request(self, router, step_time_max, std::move(message))
      .then(
          [promise, done](const gate_answer& a) mutable {
            settle(promise, a);
            done();
          },
          [promise, done](const caf::error&) mutable {
            promise.deliver(agent_messages::answerer_lost());
            done();
          });
}

template <class M> void tell_through(const agent_router& router, const agent_message& envelope, const M& m) {
  auto message = envelope;
  message.fields = packed(m);
  cafx::anon_send(router, std::move(message));
}

caf::behavior proxy(caf::event_based_actor* self, const agent_router& router, const agent_message& envelope) {
  const auto addressed = [envelope](const std::string& kind) {
    auto m = envelope;
    m.kind = kind;
    return m;
  };
  return agent_messages::take_all(
      self, [=](const auto& m, const std::string& kind, auto promise) { ask_through(self, router, addressed(kind), m, promise, [] {}); },
      [=](const auto& m, const std::string& kind) { tell_through(router, addressed(kind), m); });
}

// ---- the seat --------------------------------------------------------------------------------------------------------------

struct seat_state {
  static inline const char* name = "seat";
  seat_options options;
  caf::actor here;                     ///< empty: on another node
  std::uint64_t placement = 0;
  std::size_t waiting = 0;             ///< questions that the agent has not answered
  bool wants_to_move = false;
};
using seat_pointer = caf::stateful_actor<seat_state>*;

void sit_down(seat_pointer self) {
  auto& st = self->state;
  st.wants_to_move = false;
  if (st.here) {
    self->unlink_from(st.here);
    self->send_exit(st.here, caf::exit_reason::user_shutdown);
    st.here = nullptr;
  }
  st.placement = 0;
  const auto stay = [self] {
    self->state.here = self->state.options.start_here();
    self->link_to(self->state.here);
  };
  // Awaited: who speaks to the agent meanwhile waits until it sits.
  cafx::request(self, st.options.desk, std::chrono::seconds{60}, seat_wish{st.options.agent})
      .await(
          [=](const seat_given& g) {
            if (g.problem || g.node.empty())
              return stay();
            self->state.placement = g.placement;
          },
          [=](const caf::error&) { stay(); });
}

void answered(seat_pointer self) {
  auto& st = self->state;
  if (--st.waiting == 0 && st.wants_to_move)
    sit_down(self);
}

caf::behavior seat(seat_pointer self, seat_options options) {
  self->state.options = std::move(options);
  const auto addressed = [self](const std::string& kind) { return agent_message{{}, self->state.placement, self->state.options.agent, kind, {}}; };
  const auto ask = [=]<class M, class Reply>(const M& m, const std::string& kind, caf::typed_response_promise<Reply> promise) {
    auto& st = self->state;
    ++st.waiting;
    if (!st.here)
      return ask_through(self, agent_router{caf::actor_cast<agent_router>(st.options.desk)}, addressed(kind), m, promise, [self] { answered(self); });
    cafx::request(self, st.here, step_time_max, m)
        .then(
            [=](const Reply& r) mutable {
              promise.deliver(r);
              answered(self);
            },
            [=](const caf::error& e) mutable {
              promise.deliver(e);
              answered(self);
            });
  };
  const auto tell = [=](const auto& m, const std::string& kind) {
    auto& st = self->state;
    if (st.here)
      cafx::anon_send(st.here, m);
    else
      tell_through(caf::actor_cast<agent_router>(st.options.desk), addressed(kind), m);
  };
  sit_down(self);
  return agent_messages::take_all(self, ask, tell, [=](const seat_move&) {
    auto& st = self->state;
    st.wants_to_move = true;
    if (st.waiting == 0)
      sit_down(self);
  });
}

} // namespace

caf::actor spawn_agent_proxy(caf::actor_system& system, agent_router router, std::string from, std::uint64_t placement, std::string to) {
  return system.spawn(proxy, std::move(router), agent_message{std::move(from), placement, std::move(to), {}, {}});
}

caf::actor spawn_agent_seat(caf::actor_system& system, seat_options options) { return system.spawn(seat, std::move(options)); }

} // namespace flywheel
