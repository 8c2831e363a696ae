#include "actors/dispatcher/gang_format.hpp"
#include "actors/dispatcher/task_host_state_actor.hpp"
#include "actors/gate/gate_answers.hpp"
#include "actors/protocol/control_format.hpp"

#include <csignal>

namespace flywheel::hosting {

using nlohmann::json;

void tell_seen(self_pointer self, const std::string& gang) {
  auto& st = self->state;
  const auto i = st.gangs.find(gang);
  if (i == st.gangs.end() || i->second.asking || st.head.empty() || !st.synced)
    return;
  auto& g = i->second;
  const auto taken = std::make_shared<std::vector<gang_outbox::entry>>(g.hands->take());
  if (taken->empty()) {
    if (g.hands->over())
      st.gangs.erase(i);
    return;
  }
  g.asking = true;
  json seen = json::array();
  for (const auto& e : *taken)
    seen.push_back(dispatch::to_json(e.what, st.now() - e.at));
  call_head(self, {{"op", "gang_seen"}, {"gang", gang}, {"lease", g.lease}, {"seen", std::move(seen)}}, call_wait_ms, [=, lease = g.lease](const gate_answer& a) {
    auto& state = self->state;
    const auto held = state.gangs.find(gang);
    if (held == state.gangs.end() || held->second.lease != lease)
      return;
    auto& mine = held->second;
    mine.asking = false;
    const auto body = a.problem ? result<json>{a.problem.to_error()} : control::decode(a.body);
    if (!body && (body.error().code == errc::unreachable || body.error().code == errc::timed_out)) {
      mine.hands->put_back(std::move(*taken));
      if (body.error().code == errc::timed_out)
        tell_seen(self, gang); // the connection stands: again
      return;
    }
    if (body && body->value("holds", json{}) == json(false))
      mine.hands->signal(SIGKILL); // not ours any more
    tell_seen(self, gang);
  });
}

gate_answer start_gang(self_pointer self, const json& m) {
  auto& st = self->state;
  auto a = dispatch::attempt_from(m.value("attempt", json{}));
  if (!a)
    return failure(a.error());
  if (m.value("epoch", std::uint64_t{0}) != st.terms.epoch || !st.watch || !st.watch->holds(st.now()))
    return failure(error{errc::stale_epoch, "this node is not the one that it was meant for", st.options.node});
  if (!st.page)
    return failure(st.pool_error);
  const auto id = a->order.id;
  if (const auto i = st.gangs.find(id); i != st.gangs.end()) {
    if (i->second.lease == a->lease)
      return answer_of(json::object());
    if (!i->second.hands->over())
      return failure(error{errc::already_exists, "ranks of an older attempt are being ended", id});
  }
  gang_hands_options o;
  o.node = st.options.node;
  o.keeper_command = st.options.keeper_command;
  o.lease = st.page;
  o.ready = [me = task_host_agent{self}, id, lease = a->lease] { cafx::anon_send(me, gang_ready{id, lease}); };
  const auto lease = a->lease;
  auto hands = std::make_unique<gang_hands>(std::move(*a), std::move(o));
  st.gangs[id] = {lease, std::move(hands), false};
  return answer_of(json::object());
}

gate_answer signal_gang(self_pointer self, const json& m) {
  auto& st = self->state;
  const auto i = st.gangs.find(m.value("gang", ""));
  const bool has = i != st.gangs.end() && i->second.lease == m.value("lease", std::uint64_t{0});
  if (has)
    i->second.hands->signal(m.value("number", 0) == SIGTERM ? SIGTERM : SIGKILL);
  return answer_of({{"has", has}});
}

} // namespace flywheel::hosting
