#include "actors/dispatcher/dispatcher_actor.hpp"

#include "actors/dispatcher/dispatch_format.hpp"
#include "actors/dispatcher/gang_format.hpp"
#include "actors/dispatcher/gang_hands.hpp"
#include "actors/gate/access_policy.hpp"
#include "actors/gate/gate_answers.hpp"
#include "actors/protocol/control_format.hpp"
#include "actors/protocol/own_thread.hpp"
#include "checkpoints/sharded_store.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <variant>

namespace flywheel {
namespace {

using nlohmann::json;
using what = dispatch_action::what;

constexpr std::uint64_t call_wait_ms = 10'000;
/// The table may want to be looked at at once, again and again (somebody waits impatiently); so often is enough.
constexpr std::chrono::milliseconds tick_min{100};

struct order {
  std::uint64_t runner = 0;
  bool parked = false;
};

struct dispatcher_state {
  static inline const char* name = "dispatcher";
  const agent_context* context = nullptr;
  dispatcher_options options;
  std::optional<scribe> log;
  std::optional<dispatch_table> table;
  std::unique_ptr<pool_port> pool;
  std::map<std::string, std::uint64_t> runners;                 ///< of tasks that are not over
  std::vector<std::pair<place_task, std::string>> parked;      ///< an older attempt must end first; and the id
  struct remote_report { caf::typed_response_promise<gate_answer> promise; };
  std::map<std::uint64_t, std::variant<std::uint64_t, remote_report>> verdicts; ///< by number: the local pool's number, or who waits
  std::uint64_t last_verdict = 0;
  std::map<std::string, std::uint64_t> incarnations;            ///< of connected peers
  std::map<std::string, std::string> addresses;                 ///< of nodes, for ranks on others
  struct own_ranks { std::uint64_t lease = 0; std::unique_ptr<gang_hands> hands; };
  std::map<std::string, own_ranks> own_gangs;                   ///< by gang: those of its ranks that are here
  std::optional<mono_time> armed;                               ///< when the next look is due
  std::optional<error> join_unrecorded;                         ///< why the last admission did not become durable

  mono_time now() const { return context->time->mono(); }
};
using self_pointer = dispatcher_agent::stateful_pointer<dispatcher_state>;

void act(self_pointer self);
void place(self_pointer self, const place_task& m);

void warn(const std::string& text) { std::fprintf(stderr, "flywheel: %s\n", text.c_str()); }

/// Durable when it returns.
status record(self_pointer self, event_draft d) {
  const auto written = self->state.log->write(std::move(d));
  if (written)
    return success();
  warn("the cluster's state could not be recorded: " + written.error().to_string());
  return written.error();
}

/// In order with everything else that is written, but not waited for: a slow disk must not make the nodes look silent.
void record_later(self_pointer self, event_draft d) {
  self->state.context->log->append_async({std::move(d)}, [](const result<std::uint64_t>& written) {
    if (!written)
      warn("the cluster's state could not be recorded: " + written.error().to_string());
  });
}

// ---- what the table wants done ---------------------------------------------------------------------------------------------

void call_node(self_pointer self, const std::string& node, const json& body, std::function<void(const gate_answer&)> then) {
  cafx::request(self, self->state.options.gate, std::chrono::milliseconds{2 * call_wait_ms},
                gate_ask{node, std::string{gate::cluster_service}, control::encode(body), call_wait_ms})
      .then([then](const gate_answer& a) { then(a); }, [then](const caf::error& e) { then(failure(error{errc::unreachable, cafx::render(e)})); });
}

void finish(self_pointer self, const task_end& e) {
  auto& st = self->state;
  const auto i = st.runners.find(e.task);
  if (i == st.runners.end())
    return;
  const auto runner = i->second;
  st.runners.erase(i);
  st.options.channel->ended(runner, e);
  std::vector<std::pair<place_task, std::string>> ready;
  std::erase_if(st.parked, [&](auto& p) {
    if (line_of(p.second) != line_of(e.task))
      return false;
    ready.push_back(std::move(p));
    return true;
  });
  for (const auto& [m, id] : ready)
    place(self, m);
}

void start_here(self_pointer self, const dispatch_action& a) {
  auto& st = self->state;
  const auto* t = st.table->find(a.task);
  if (t == nullptr)
    return;
  st.table->confirmed(a.task, a.lease);
  st.pool->submit(*t);
}

void start_there(self_pointer self, const dispatch_action& a) {
  auto& st = self->state;
  const auto* t = st.table->find(a.task);
  if (t == nullptr)
    return;
  if (st.options.grants && !t->files.folder.empty())
    st.options.grants->put(a.lease, {a.node, a.task, t->files.inputs, t->files.folder, t->files.state, t->files.results});
  const json body{{"op", "run"}, {"task", dispatch::to_json(*t)}, {"lease", a.lease}, {"epoch", a.epoch}};
  call_node(self, a.node, body, [=, task = a.task, lease = a.lease](const gate_answer& answer) {
    auto& state = self->state;
    if (!answer.problem)
      return state.table->confirmed(task, lease);
    const auto why = answer.problem.to_error();
    // Whether it was taken is told when the node comes back (sync); a stale one is on its way out.
    if (why.code == errc::unreachable || why.code == errc::timed_out || why.code == errc::stale_epoch)
      return;
    state.table->refused(task, lease, why, state.now());
    act(self);
  });
}

// ---- gangs ---------------------------------------------------------------------------------------------------------------------

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

/// What runs and waits, with what only the head knows of why.
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

/// What the journal says of gangs that were not over when the head ended.
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

void arm(self_pointer self) {
  auto& st = self->state;
  const auto next = st.table->next_tick();
  if (!next)
    return;
  const auto at = std::max(*next, st.now() + tick_min);
  if (st.armed && *st.armed <= at)
    return;
  st.armed = at; // an earlier look than the one that is on its way: that one then finds nothing to do
  cafx::delayed_send(self, self, at - st.now(), tick_atom_v);
}

void act(self_pointer self) {
  auto& st = self->state;
  if (st.options.grants) // before anything is given to somebody else
    st.options.grants->keep_only([&](std::uint64_t lease, const transfer::grant& g) { return st.table->holds(g.task, g.node, lease); });
  for (auto actions = st.table->take_actions(); !actions.empty(); actions = st.table->take_actions())
    for (const auto& a : actions) {
      switch (a.is) {
      case what::start:
        if (a.node == st.options.head)
          start_here(self, a);
        else
          start_there(self, a);
        break;
      case what::stop:
        if (a.node == st.options.head)
          st.pool->cancel(a.task, a.reason);
        else
          call_node(self, a.node, {{"op", "stop"}, {"task", a.task}, {"lease", a.lease}, {"reason", a.reason}}, [](const gate_answer&) {});
        break;
      case what::end: {
        task_end e;
        e.task = a.task;
        e.attempt = a.attempt;
        e.cause = a.problem;
        finish(self, e);
        break;
      }
      case what::member: {
        const auto& c = a.change;
        if (st.options.grants && (c.to == member_state::dead || c.to == member_state::left))
          st.options.grants->forget(c.node);
        auto draft = st.log->draft(event_kind::node_state, {}, {}, c.node, "node " + c.node + " is " + std::string{name_of(c.to)} + ": " + c.reason,
                                   {{"state", std::string{name_of(c.to)}}, {"from", std::string{name_of(c.from)}}, {"incarnation", c.incarnation},
                                    {"epoch", c.epoch}, {"reason", c.reason}});
        if (st.options.node_gone && (c.to == member_state::dead || c.to == member_state::left))
          st.options.node_gone(c.node, c.reason);
        if (c.from != member_state::left)
          record_later(self, std::move(draft));
        else if (const auto durable = record(self, std::move(draft)); !durable) // its epoch must be, before it is told
          st.join_unrecorded = durable.error();
        break;
      }
      case what::moved: {
        const auto goal = a.task.substr(0, a.task.find('/'));
        record_later(self, st.log->decision(goal, {}, "run " + a.task + " on another node", a.reason, {{"task", a.task}}, json::array()));
        break;
      }
      }
    }
  act_on_gangs(self);
  if (st.options.usable_slots)
    *st.options.usable_slots = std::max(1u, st.table->usable_slots());
  arm(self);
}

// ---- who orders tasks ------------------------------------------------------------------------------------------------------

void place(self_pointer self, const place_task& m) {
  auto& st = self->state;
  const auto body = control::decode(m.task);
  auto t = body ? dispatch::task_from(body->value("task", json{})) : result<worker_task>{body.error()};
  if (!t)
    return warn("an order that cannot be read: " + t.error().to_string());
  const auto id = t->task.id;
  const std::string line{line_of(id)};
  const auto other = st.runners.lower_bound(line + "#");
  if (st.runners.contains(line) || (other != st.runners.end() && line_of(other->first) == line)) { // whoever ordered that has forgotten it, and it is being ended
    st.parked.emplace_back(m, id);
    return;
  }
  st.runners[id] = m.runner;
  const auto attempt = t->task.attempt;
  if (const auto queued = st.table->submit(m.account, std::move(*t), st.now()); !queued) {
    task_end e;
    e.task = id;
    e.attempt = attempt;
    e.cause = queued.error();
    return finish(self, e);
  }
  act(self);
}

void cancel(self_pointer self, const std::string& task, const std::string& reason) {
  auto& st = self->state;
  st.table->cancel(task, reason, st.now());
  act(self);
}

/// One that has not begun to wait for a slot.
void cancel_parked(self_pointer self, const cancel_task& m) {
  auto& st = self->state;
  const auto i = std::find_if(st.parked.begin(), st.parked.end(), [&](const auto& p) { return p.second == m.task && p.first.runner == m.runner; });
  if (i == st.parked.end())
    return;
  const auto body = control::decode(i->first.task);
  const auto t = body ? dispatch::task_from(body->value("task", json{})) : result<worker_task>{body.error()};
  st.parked.erase(i);
  task_end e;
  e.task = m.task;
  e.attempt = t ? t->task.attempt : 1;
  e.cause = {errc::cancelled, m.reason};
  st.options.channel->ended(m.runner, e);
}

void forget_runner(self_pointer self, std::uint64_t runner) {
  auto& st = self->state;
  std::erase_if(st.parked, [&](const auto& p) { return p.first.runner == runner; });
  std::vector<std::string> its;
  for (const auto& [task, of] : st.runners)
    if (of == runner)
      its.push_back(task);
  for (const auto& task : its)
    cancel(self, task, "whoever ordered it is gone");
}

/// Passes a report on; `waits` is who gets the verdict.
void pass_report(self_pointer self, const wire::report& r, std::variant<std::uint64_t, dispatcher_state::remote_report> waits) {
  auto& st = self->state;
  const auto number = ++st.last_verdict;
  st.verdicts.emplace(number, std::move(waits));
  const auto i = st.runners.find(r.task);
  const dispatcher_agent me{self};
  if (i == st.runners.end() ||
      !st.options.channel->reported(i->second, r, [me, number](bool go_on) { cafx::anon_send(me, task_verdict{number, go_on}); }))
    cafx::send(self, me, task_verdict{number, i != st.runners.end()});
}

void give_verdict(self_pointer self, const task_verdict& m) {
  auto& st = self->state;
  const auto i = st.verdicts.find(m.number);
  if (i == st.verdicts.end())
    return;
  auto waits = std::move(i->second);
  st.verdicts.erase(i);
  if (const auto* local = std::get_if<std::uint64_t>(&waits)) {
    if (st.pool)
      st.pool->verdict(*local, m.go_on);
  } else {
    std::get<dispatcher_state::remote_report>(waits).promise.deliver(answer_of({{"go_on", m.go_on}}));
  }
}

// ---- the head's own workers ---------------------------------------------------------------------------------------------------

void own_task_ended(self_pointer self, const pool_end& m) {
  auto& st = self->state;
  const auto body = control::decode(m.bytes);
  const auto e = body ? dispatch::end_from(body->value("end", json{})) : result<task_end>{body.error()};
  if (!e)
    return warn("an end that cannot be read: " + e.error().to_string());
  const auto* lease = st.table->leases().find(e->task);
  if (lease != nullptr && st.table->ended(e->task, lease->epoch, st.now(), e->cause.code == errc::cancelled))
    finish(self, *e);
  act(self);
}

void own_report(self_pointer self, const pool_report& m) {
  const auto body = control::decode(m.bytes);
  if (const auto r = body ? dispatch::report_from(body->value("report", json{})) : result<wire::report>{body.error()})
    pass_report(self, *r, m.number);
}

// ---- nodes -----------------------------------------------------------------------------------------------------------------------

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

/// What the journal says of members: those that had not gone when the head ended, and those that must not come back as they were.
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

void open_pool(self_pointer self) {
  auto& st = self->state;
  if (st.options.slots.empty())
    return;
  const dispatcher_agent me{self};
  pool_port::listener to;
  to.reported = [me](std::uint64_t number, const wire::report& r) {
    cafx::anon_send(me, pool_report{0, number, control::encode({{"report", dispatch::to_json(r)}})});
  };
  to.ended = [me](const task_end& e) { cafx::anon_send(me, pool_end{0, control::encode({{"end", dispatch::to_json(e)}})}); };
  st.options.pool.slots = static_cast<std::uint32_t>(st.options.slots.size());
  auto pool = st.options.open_pool(st.options.pool, to, *st.context->time);
  if (!pool)
    return warn("the head computes nothing itself: " + pool.error().to_string());
  st.pool = std::move(*pool);
  if (const auto added = st.table->add_own_slots(st.options.slots); !added)
    warn("the head computes nothing itself: " + added.error().to_string());
}

dispatcher_agent::behavior_type dispatcher(self_pointer self, const agent_context* context, const dispatcher_options& options) {
  auto& st = self->state;
  st.context = context;
  st.options = options;
  st.log.emplace(*context, "dispatcher");
  // Leases of an older life of the head are told apart by its epoch: each life has numbers of its own.
  st.table.emplace(options.rule, options.head, largest_epoch(self), context->epoch << 32);
  open_pool(self);
  restore_members(self, *st.table);
  restore_gangs(self);
  act(self);
  return {
      [=](const gate_call& m) { return from_node(self, m); },
      [](const gate_note&) {},
      [=](const peer_state& m) { return admit(self, m); },
      [=](const place_task& m) { place(self, m); },
      [=](const cancel_task& m) {
        const auto i = self->state.runners.find(m.task);
        if (i != self->state.runners.end() && i->second == m.runner)
          return cancel(self, m.task, m.reason);
        cancel_parked(self, m);
      },
      [=](const close_runner& m) { forget_runner(self, m.runner); },
      [=](const task_verdict& m) { give_verdict(self, m); },
      [=](const pool_report& m) { own_report(self, m); },
      [=](const pool_end& m) { own_task_ended(self, m); },
      [=](const list_nodes&) { return list(self); },
      [=](const ask_gangs& m) { return about_gangs(self, m); },
      [=](const gang_ready& m) { own_gang_ready(self, m); },
      [=](const gang_prepared& m) { gang_is_prepared(self, m); },
      [=](const drain_node& m) { return drain(self, m); },
      [=](const shut_down& m) { return shut_down_all(self, m); },
      [=](tick_atom) {
        if (self->state.armed && self->state.now() < *self->state.armed)
          return; // an older one; the earlier look has been taken, and the next is on its way
        self->state.armed.reset();
        self->state.table->tick(self->state.now());
        act(self);
      },
  };
}

class cluster_runner final : public task_runner {
public:
  cluster_runner(dispatcher_agent dispatcher, std::shared_ptr<task_channel> channel, worker_pool_events events)
      : dispatcher_(std::move(dispatcher)), channel_(std::move(channel)), number_(channel_->attach(std::move(events))) {}
  ~cluster_runner() override {
    channel_->detach(number_);
    cafx::anon_send(dispatcher_, close_runner{number_});
  }
  void submit(worker_task t) override {
    const auto account = t.task.id.substr(0, t.task.id.find('/'));
    cafx::anon_send(dispatcher_, place_task{number_, account, control::encode({{"task", dispatch::to_json(t)}})});
  }
  void cancel(const std::string& task, const std::string& reason) override { cafx::anon_send(dispatcher_, cancel_task{number_, task, reason}); }

private:
  dispatcher_agent dispatcher_;
  std::shared_ptr<task_channel> channel_;
  std::uint64_t number_;
};

} // namespace

dispatcher_agent spawn_dispatcher(caf::actor_system& system, const agent_context& context, dispatcher_options options) {
  return spawn_on_own_thread(system, dispatcher, &context, std::move(options));
}

std::unique_ptr<task_runner> make_cluster_runner(dispatcher_agent dispatcher_handle, std::shared_ptr<task_channel> channel, worker_pool_events events) {
  return std::make_unique<cluster_runner>(std::move(dispatcher_handle), std::move(channel), std::move(events));
}

} // namespace flywheel
