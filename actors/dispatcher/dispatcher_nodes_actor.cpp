#include "actors/dispatcher/dispatch_format.hpp"
#include "actors/dispatcher/dispatcher_state_actor.hpp"
#include "actors/dispatcher/gang_format.hpp"
#include "actors/gate/access_policy.hpp"
#include "actors/gate/gate_answers.hpp"
#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel::dispatching {

using nlohmann::json;

gate_answer admit(self_pointer self, const peer_state& m) {
  auto& st = self->state;
  const auto now = st.now();
  if (m.role != name_of(role::node)) // a person: what they may do, each service says
    return answer_of({{"head", st.options.head}, {"head_epoch", st.context->epoch}});
  if (!m.connected) {
    if (const auto i = st.incarnations.find(m.peer); i != st.incarnations.end() && i->second == m.incarnation)
      st.incarnations.erase(i);
    st.table->disconnected(m.peer, m.incarnation, now);
    act(self);
    return {};
  }
  const auto greeting = dispatch::greeting_from(m.text);
  st.join_unrecorded.reset();
  const auto epoch = st.table->join({m.peer, m.incarnation, greeting.protocol}, now);
  act(self);
  if (!epoch)
    return failure(epoch.error());
  if (st.join_unrecorded) { // a head that starts again would give the same epoch to another
    (void)st.table->leave(m.peer, m.incarnation, now);
    act(self);
    return failure(*st.join_unrecorded);
  }
  st.incarnations[m.peer] = m.incarnation;
  if (st.options.grants && !greeting.data_key.empty())
    st.options.grants->admit(m.peer, greeting.data_key);
  const auto& rule = st.options.rule.membership;
  dispatch::welcome w{*epoch, st.context->epoch, static_cast<std::uint32_t>(st.options.heartbeat.count()),
                      static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(rule.dead_after).count()),
                      st.context->layout.root.string(), st.options.shared_token, st.options.data_port, st.options.data_key};
  return answer_of(dispatch::to_json(w));
}

namespace {

result<json> node_says(self_pointer self, const std::string& node, std::uint64_t incarnation, const std::string& op, const json& m) {
  auto& st = self->state;
  const auto now = st.now();
  if (op == "beat") {
    FLYWHEEL_CHECK(st.table->heartbeat(node, incarnation, now));
    return json{{"n", m.value("n", json{})}};
  }
  if (op == "sync") {
    FLYWHEEL_TRY(const auto slots, dispatch::slots_from(m.value("slots", json{}), node));
    FLYWHEEL_TRY(const auto held, dispatch::held_from(m.value("held", json{})));
    FLYWHEEL_TRY(const auto gangs, dispatch::held_gangs_from(m.value("gangs", json{})));
    st.addresses[node] = m.contains("address") && m["address"].is_string() ? m["address"].get<std::string>().substr(0, 256) : std::string{};
    FLYWHEEL_CHECK(st.table->sync(node, incarnation, slots, held, now, gangs));
    return json::object();
  }
  if (op == "gang_seen") {
    FLYWHEEL_TRY(const auto seen, dispatch::seen_from(m.value("seen", json{})));
    const auto lease = m.contains("lease") && m["lease"].is_number_unsigned() ? m["lease"].get<std::uint64_t>() : 0;
    const auto gang = m.contains("gang") && m["gang"].is_string() ? m["gang"].get<std::string>() : std::string{};
    const bool holds = st.table->with_gangs(now, [&](auto& gangs, auto& leases) { return gangs.observe(gang, node, lease, seen, leases, now); });
    return json{{"holds", holds}};
  }
  if (op == "ended") {
    FLYWHEEL_TRY(const auto e, dispatch::end_from(m.value("end", json{})));
    const auto lease = m.contains("lease") && m["lease"].is_number_unsigned() ? m["lease"].get<std::uint64_t>() : 0;
    if (m.contains("handed_back") && m["handed_back"] == true) {
      warn("node " + node + " handed " + e.task + " back: " + e.cause.to_string());
      return json{{"counts", st.table->handed_back(e.task, node, lease, e.cause.to_string(), now)}};
    }
    const bool counts = st.table->holds(e.task, node, lease) && st.table->ended(e.task, lease, now, e.cause.code == errc::cancelled);
    if (counts)
      finish(self, e);
    return json{{"counts", counts}};
  }
  if (op == "leave") {
    FLYWHEEL_CHECK(st.table->leave(node, incarnation, now));
    return json::object();
  }
  return error{errc::unsupported, "nodes do not say '" + printable(op, 40) + "'"};
}

} // namespace

caf::result<gate_answer> from_node(self_pointer self, const gate_call& m) {
  auto& st = self->state;
  const auto body = control::decode(m.body);
  if (!body)
    return failure(body.error());
  const auto known = st.incarnations.find(m.peer);
  if (known == st.incarnations.end())
    return failure(error{errc::stale_epoch, "the head does not know this connection", m.peer, "say hello first"});
  const auto op = body->contains("op") && (*body)["op"].is_string() ? (*body)["op"].get<std::string>() : std::string{};
  if (op == "report") {
    const auto r = dispatch::report_from(body->value("report", json{}));
    if (!r)
      return failure(r.error());
    const auto lease = body->contains("lease") && (*body)["lease"].is_number_unsigned() ? (*body)["lease"].get<std::uint64_t>() : 0;
    if (!st.table->holds(r->task, m.peer, lease))
      return answer_of({{"go_on", false}});
    auto promise = self->make_response_promise<gate_answer>();
    pass_report(self, *r, dispatcher_state::remote_report{promise});
    return promise;
  }
  const auto answered = node_says(self, m.peer, known->second, op, *body);
  act(self);
  return answered ? answer_of(*answered) : failure(answered.error());
}

// ---- people ------------------------------------------------------------------------------------------------------------------------

gate_answer list(self_pointer self) {
  auto& st = self->state;
  json nodes = json::array();
  const auto now = st.now();
  for (const auto& v : st.table->nodes(now))
    nodes.push_back({{"node", v.node}, {"state", v.state}, {"head", v.head}, {"draining", v.draining}, {"slots", v.slots}, {"busy", v.busy},
                     {"incarnation", v.incarnation}, {"epoch", v.epoch}, {"silent_ms", std::chrono::duration_cast<std::chrono::milliseconds>(v.silent).count()},
                     {"reason", v.reason}});
  json waiting = json::array();
  for (const auto& r : st.table->leases().waiting())
    waiting.push_back({{"task", r.id}, {"why", st.table->why_waiting(r.id, now).value_or("")}});
  return answer_of({{"nodes", nodes}, {"waiting", waiting}, {"gangs", gang_list(self)}});
}

acknowledgement drain(self_pointer self, const drain_node& m) {
  auto& st = self->state;
  acknowledgement ack;
  if (const auto ok = st.table->drain(m.node); !ok) {
    ack.problem = ok.error();
    return ack;
  }
  const auto nodes = st.table->nodes(st.now());
  const auto i = std::find_if(nodes.begin(), nodes.end(), [&](const auto& v) { return v.node == m.node; });
  if (const auto durable = record(self, st.log->draft(event_kind::node_state, {}, {}, m.node, m.user + " drains node " + m.node,
                                                      {{"state", "draining"}, {"incarnation", i->incarnation}, {"epoch", i->epoch}, {"reason", m.user + " drained it"}}));
      !durable) {
    ack.problem = durable.error(); // it drains, but a head that starts again would not know
    return ack;
  }
  if (st.options.node_drains)
    st.options.node_drains(m.node);
  ack.text = "node " + m.node + " gets no new work; " + std::to_string(i->busy) + " of its slots are still busy";
  act(self);
  return ack;
}

caf::result<acknowledgement> shut_down_all(self_pointer self, const shut_down& m) {
  auto& st = self->state;
  auto open = std::make_shared<std::size_t>(st.incarnations.size());
  auto promise = self->make_response_promise<acknowledgement>();
  if (*open == 0) {
    promise.deliver(acknowledgement{});
    return promise;
  }
  for (const auto& [node, incarnation] : st.incarnations)
    call_node(self, node, {{"op", "shutdown"}, {"reason", m.user + " shut the cluster down"}}, [open, promise](const gate_answer&) mutable {
      if (--*open == 0)
        promise.deliver(acknowledgement{});
    });
  return promise;
}

void restore_members(self_pointer self, dispatch_table& table) {
  auto& st = self->state;
  journal_filter filter;
  filter.kinds = {event_kind::node_state};
  const auto events = st.log->read(filter);
  if (!events)
    return warn("the cluster's members could not be read: " + events.error().to_string());
  struct seen { std::uint64_t incarnation = 0, epoch = 0; bool lives = false, draining = false; };
  std::map<std::string, seen> last;
  for (const auto& e : *events) {
    const auto body = json::parse(e.body, nullptr, false);
    if (!body.is_object())
      continue;
    auto& s = last[e.subject];
    const auto state = body.value("state", "");
    const auto incarnation = body.value("incarnation", std::uint64_t{0});
    if (state == "draining") {
      s.draining = true;
      continue;
    }
    s.draining = s.draining && s.incarnation == incarnation;
    s.incarnation = incarnation;
    s.epoch = body.value("epoch", std::uint64_t{0});
    s.lives = state == "alive" || state == "suspect";
    if (!s.lives)
      table.restore_gone(e.subject, incarnation, s.epoch);
  }
  for (const auto& [node, s] : last)
    if (s.lives && node != st.options.head)
      table.restore(node, s.incarnation, s.epoch, s.draining, st.now());

}

std::uint64_t largest_epoch(self_pointer self) {
  journal_filter filter;
  filter.kinds = {event_kind::node_state};
  std::uint64_t largest = 0;
  if (const auto events = self->state.log->read(filter))
    for (const auto& e : *events)
      if (const auto body = json::parse(e.body, nullptr, false); body.is_object())
        largest = std::max(largest, body.value("epoch", std::uint64_t{0}));
  return largest;
}

} // namespace flywheel::dispatching
