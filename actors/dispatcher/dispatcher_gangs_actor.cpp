#include "actors/dispatcher/dispatcher_state_actor.hpp"
#include "actors/dispatcher/gang_format.hpp"
#include "actors/gate/gate_answers.hpp"
#include "actors/protocol/control_format.hpp"
#include "actors/protocol/own_thread.hpp"
#include "checkpoints/sharded_store.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <sys/stat.h>

#include <csignal>
#include <filesystem>

namespace flywheel::dispatching {

using nlohmann::json;

namespace {

std::filesystem::path meeting_folder(self_pointer self, std::uint64_t lease) { return self->state.context->layout.run() / ("g-" + std::to_string(lease)); }

std::filesystem::path logs_of(self_pointer self, const std::string& gang) { return self->state.context->layout.root / "gangs" / gang; }

status make_private_folder(const std::filesystem::path& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return error_from_errno(errno, "making a folder", folder.string());
  return success();
}

/// The fence of the next attempt, and folders. Waits for whoever holds the checkpoint folder's lock, so it has a thread of its own.
gang_prepared prepare_attempt(const gang_order& order, std::uint64_t lease, std::uint64_t last, std::optional<std::uint64_t> after, json body,
                              const std::filesystem::path& meeting, const std::filesystem::path& logs) {
  gang_prepared done;
  done.gang = order.id;
  done.lease = lease;
  std::uint64_t taken = 0;
  const auto prepare = [&]() -> status {
    if (order.checkpoints.empty()) {
      taken = last + 1;
    } else {
      do {
        FLYWHEEL_TRY(taken, take_attempt(order.checkpoints, after));
        after = taken;
      } while (taken <= last); // the folder was emptied meanwhile
    }
    FLYWHEEL_CHECK(make_private_folder(meeting));
    FLYWHEEL_CHECK(make_private_folder(logs.parent_path()));
    return make_private_folder(logs);
  };
  if (const auto ready = prepare(); !ready)
    done.problem = ready.error();
  body["attempt"] = taken;
  body["taken"] = order.checkpoints.empty() ? 0 : taken;
  done.body = control::encode(body);
  return done;
}

/// `port`: on the node of rank 0.
void fence_gang(self_pointer self, const std::string& gang, std::uint64_t lease, int port) {
  auto& st = self->state;
  const auto* order = st.table->gangs().order_of(gang);
  if (order == nullptr)
    return;
  const dispatcher_agent me{self};
  auto job = spawn_on_own_thread(self->home_system(), [me, lease, port, order = *order, last = st.table->gangs().last_attempt(gang),
                                                       after = st.table->gangs().taken_before(gang), meeting = meeting_folder(self, lease),
                                                       logs = logs_of(self, gang)](caf::event_based_actor* worker) {
    return caf::behavior{[=](tick_atom) {
      cafx::anon_send(me, prepare_attempt(order, lease, last, after, json{{"port", port}}, meeting, logs));
      worker->quit();
    }};
  });
  cafx::anon_send(job, tick_atom_v);
}

void prepare_gang(self_pointer self, const gang_action& a) {
  auto& st = self->state;
  const auto* lease = st.table->leases().find(a.gang);
  if (lease == nullptr || lease->epoch != a.lease || lease->ranks.empty())
    return;
  const auto first = lease->ranks.front().node;
  const auto failed = [=](const error& why) {
    auto& state = self->state;
    state.table->with_gangs(state.now(), [&](auto& gangs, auto& leases) { gangs.prepare_failed(a.gang, a.lease, 0, why, leases, state.now()); });
    act(self);
  };
  if (first == st.options.head) {
    const auto port = free_tcp_port();
    return port ? fence_gang(self, a.gang, a.lease, *port) : failed(port.error());
  }
  call_node(self, first, {{"op", "gang_port"}}, [=](const gate_answer& answer) {
    const auto body = answer.problem ? result<json>{answer.problem.to_error()} : control::decode(answer.body);
    if (!body)
      return failed(body.error());
    const auto port = body->value("port", json{});
    if (!port.is_number_integer())
      return failed(error{errc::protocol_violation, "a port that is no number", first});
    fence_gang(self, a.gang, a.lease, port.get<int>());
  });
}

} // namespace

void gang_is_prepared(self_pointer self, const gang_prepared& m) {
  auto& st = self->state;
  const auto body = control::decode(m.body);
  const auto taken = body ? body->value("taken", std::uint64_t{0}) : 0;
  const auto* lease = st.table->leases().find(m.gang);
  st.table->with_gangs(st.now(), [&](auto& gangs, auto& leases) {
    if (m.problem || !body)
      return gangs.prepare_failed(m.gang, m.lease, taken, m.problem ? m.problem.to_error() : body.error(), leases, st.now());
    std::vector<std::string> addresses;
    if (lease != nullptr && lease->epoch == m.lease)
      for (const auto& s : lease->ranks)
        addresses.push_back(s.node == st.options.head ? st.options.address : st.addresses[s.node]);
    const auto meeting = meeting_folder(self, m.lease);
    if (!gangs.prepared(m.gang, m.lease, body->value("attempt", std::uint64_t{0}), body->value("port", 0), meeting.string(), std::move(addresses), st.now())) {
      std::error_code ignored;
      std::filesystem::remove_all(meeting, ignored);
    }
  });
  act(self);
}

void own_gang_ready(self_pointer self, const gang_ready& m) {
  auto& st = self->state;
  const auto i = st.own_gangs.find(m.gang);
  if (i == st.own_gangs.end() || i->second.lease != m.lease)
    return;
  std::vector<gang_observation> seen;
  for (auto& e : i->second.hands->take())
    seen.push_back(std::move(e.what));
  if (i->second.hands->over())
    st.own_gangs.erase(i);
  st.table->with_gangs(st.now(), [&](auto& gangs, auto& leases) { return gangs.observe(m.gang, st.options.head, m.lease, seen, leases, st.now()); });
  act(self);
}

namespace {

void start_ranks(self_pointer self, const gang_action& a) {
  auto& st = self->state;
  auto attempt = st.table->gangs().attempt_of(a.gang, a.lease);
  if (!attempt)
    return; // overtaken
  attempt->logs = logs_of(self, a.gang).string();
  if (a.node == st.options.head) {
    gang_hands_options o;
    o.node = a.node;
    o.keeper_command = st.options.keeper_command;
    o.ready = [me = dispatcher_agent{self}, gang = a.gang, lease = a.lease] { cafx::anon_send(me, gang_ready{gang, lease}); };
    st.own_gangs[a.gang] = {a.lease, std::make_unique<gang_hands>(std::move(*attempt), std::move(o))};
    return;
  }
  const json body{{"op", "gang_start"}, {"attempt", dispatch::to_json(*attempt)}, {"epoch", st.table->epoch_of(a.node)}};
  call_node(self, a.node, body, [=](const gate_answer& answer) {
    auto& state = self->state;
    state.table->with_gangs(state.now(), [&](auto& gangs, auto& leases) {
      if (!answer.problem)
        return gangs.confirmed(a.gang, a.node, a.lease);
      const auto why = answer.problem.to_error();
      if (why.code != errc::unreachable && why.code != errc::timed_out && why.code != errc::stale_epoch) // of those the next sync tells
        gangs.refused(a.gang, a.node, a.lease, why, leases, state.now());
    });
    act(self);
  });
}

void signal_ranks(self_pointer self, const gang_action& a) {
  auto& st = self->state;
  if (a.node == st.options.head) {
    const auto i = st.own_gangs.find(a.gang);
    if (i != st.own_gangs.end() && i->second.lease == a.lease)
      return i->second.hands->signal(a.number);
    if (a.number == SIGKILL)
      st.table->with_gangs(st.now(), [&](auto& gangs, auto& leases) { gangs.unknown_there(a.gang, a.node, a.lease, leases, st.now()); });
    return;
  }
  call_node(self, a.node, {{"op", "gang_signal"}, {"gang", a.gang}, {"lease", a.lease}, {"number", a.number}}, [=](const gate_answer& answer) {
    auto& state = self->state;
    const auto body = answer.problem ? result<json>{answer.problem.to_error()} : control::decode(answer.body);
    if (!body && body.error().code == errc::timed_out && state.table->gangs().attempt_of(a.gang, a.lease))
      return signal_ranks(self, a); // the connection stands: again
    if (body && a.number == SIGKILL && body->value("has", json{}) == json(false)) {
      state.table->with_gangs(state.now(), [&](auto& gangs, auto& leases) { gangs.unknown_there(a.gang, a.node, a.lease, leases, state.now()); });
      act(self);
    }
  });
}

void tell_of_gang(self_pointer self, const gang_action& a) {
  auto& st = self->state;
  const auto& n = a.news;
  auto draft = st.log->draft(event_kind::gang_state, {}, {}, a.gang, "gang " + a.gang + ": " + n.text, dispatch::to_json(n));
  if (n.what == gang_news::kind::started)
    (void)record(self, std::move(draft)); // before its ranks are
  else
    record_later(self, std::move(draft));
  if (n.what == gang_news::kind::failed) {
    auto decision = st.log->decision({}, {}, n.restart ? "start gang " + a.gang + " again" : "give gang " + a.gang + " up",
                                     sentence_of(n.cause) + (n.restart ? "; " : "; final: ") + n.reason, dispatch::to_json(n), json::array());
    decision.subject = a.gang;
    record_later(self, std::move(decision));
  }
}

} // namespace

void act_on_gangs(self_pointer self) {
  auto& st = self->state;
  for (auto actions = st.table->take_gang_actions(); !actions.empty(); actions = st.table->take_gang_actions())
    for (const auto& a : actions) {
      switch (a.is) {
      case gang_action::what::prepare: prepare_gang(self, a); break;
      case gang_action::what::start: start_ranks(self, a); break;
      case gang_action::what::signal: signal_ranks(self, a); break;
      case gang_action::what::clean: {
        std::error_code ignored;
        std::filesystem::remove_all(meeting_folder(self, a.lease), ignored);
        break;
      }
      case gang_action::what::tell: tell_of_gang(self, a); break;
      }
    }
}

namespace {

result<json> launch_gang(self_pointer self, const std::string& user, const json& body) {
  auto& st = self->state;
  FLYWHEEL_TRY(auto order, dispatch::order_from([&] {
    auto j = body.value("order", json{});
    if (j.is_object())
      j["user"] = user;
    return j;
  }()));
  journal_filter filter;
  filter.kinds = {event_kind::gang_state};
  filter.subject = order.id;
  filter.limit = 1;
  FLYWHEEL_TRY(const auto earlier, st.log->read(filter));
  const json answer{{"gang", order.id}, {"logs", logs_of(self, order.id).string()}, {"existed", !earlier.empty()}};
  if (!earlier.empty()) {
    const auto before = json::parse(earlier.front().body, nullptr, false);
    const auto same = before.is_object() ? dispatch::order_from(before.value("order", json{})) : result<gang_order>{error{errc::internal, "no order"}};
    if (same && *same == order)
      return answer;
    return error{errc::already_exists, "another gang had this name", order.id, "choose another one, or leave --name out"};
  }
  FLYWHEEL_CHECK(record(self, st.log->draft(event_kind::gang_state, {}, {}, order.id,
                                            user + " orders gang " + order.id + " of " + std::to_string(order.ranks) + (order.ranks == 1 ? " rank" : " ranks"),
                                            {{"state", "ordered"}, {"attempt", 0}, {"order", dispatch::to_json(order)}})));
  FLYWHEEL_CHECK(st.table->with_gangs(st.now(), [&](auto& gangs, auto& leases) { return gangs.submit(order, leases, st.now()); }));
  return answer;
}

} // namespace

gate_answer about_gangs(self_pointer self, const ask_gangs& m) {
  auto& st = self->state;
  const auto body = control::decode(m.body);
  if (!body)
    return failure(body.error());
  const auto text = [&](const char* key) { return body->contains(key) && (*body)[key].is_string() ? (*body)[key].get<std::string>() : std::string{}; };
  if (m.op == "launch") {
    const auto launched = launch_gang(self, m.user, *body);
    act(self);
    return launched ? answer_of(*launched) : failure(launched.error());
  }
  if (m.op == "cancel") {
    const auto id = text("gang"), reason = text("reason");
    const auto why = m.user + " cancelled it" + (reason.empty() ? "" : ": " + reason);
    const auto ok = st.table->with_gangs(st.now(), [&](auto& gangs, auto& leases) { return gangs.cancel(id, why, leases, st.now()); });
    act(self);
    return ok ? answer_of({{"text", "gang " + id + " is being stopped"}}) : failure(ok.error());
  }
  return failure(error{errc::unsupported, "nothing about gangs is called '" + printable(m.op, 40) + "'"});
}

json gang_list(self_pointer self) {
  auto& st = self->state;
  json all = json::array();
  for (auto& v : st.table->gangs().views(st.table->leases(), st.now())) {
    if (v.state == "waits") {
      if (st.table->is_resolving())
        v.text = "waits until the nodes that the head knew before it was started are back, or are given up";
      const auto none = st.table->without_slots();
      if (!none.empty())
        v.text += " (" + join(none, ", ") + (none.size() == 1 ? " offers" : " offer") + " no slots: a node that does not share the head's files gets no ranks)";
    }
    all.push_back(dispatch::to_json(v));
  }
  return all;
}

void restore_gangs(self_pointer self) {
  auto& st = self->state;
  journal_filter filter;
  filter.kinds = {event_kind::gang_state};
  const auto events = st.log->read(filter);
  if (!events)
    return warn("the cluster's gangs could not be read: " + events.error().to_string());
  for (const auto& m : dispatch::unfinished_gangs(*events)) {
    auto decision = st.log->decision({}, {}, "go on with gang " + m.order.id,
                                     m.attempt == 0 ? "it was ordered and has not begun" : "the head has started anew and its ranks were ended; they begin again from the newest checkpoint",
                                     {{"attempt", m.attempt}, {"restarts", m.restarts}}, json::array());
    decision.subject = m.order.id;
    record_later(self, std::move(decision));
    const auto resumed = st.table->with_gangs(st.now(), [&](auto& gangs, auto& leases) { return gangs.resume(m, leases, st.now()); });
    if (!resumed)
      warn("gang " + m.order.id + " cannot go on: " + resumed.error().to_string());
  }
}

} // namespace flywheel::dispatching
