#include "actors/dispatcher/dispatcher_actor.hpp"

#include "actors/dispatcher/dispatch_format.hpp"
#include "actors/dispatcher/dispatcher_state_actor.hpp"
#include "actors/gate/access_policy.hpp"
#include "actors/gate/gate_answers.hpp"
#include "actors/protocol/control_format.hpp"
#include "actors/protocol/own_thread.hpp"
#include "cluster/base/json.hpp"

#include <algorithm>
#include <cstdio>

namespace flywheel {
namespace dispatching {

using nlohmann::json;
using what = dispatch_action::what;

namespace {

constexpr std::uint64_t call_wait_ms = 10'000;
/// The table may want to be looked at at once, again and again (somebody waits impatiently); so often is enough.
constexpr std::chrono::milliseconds tick_min{100};

void place(self_pointer self, const place_task& m);

} // namespace

void warn(const std::string& text) { std::fprintf(stderr, "flywheel: %s\n", text.c_str()); }

status record(self_pointer self, event_draft d) {
  const auto written = self->state.log->write(std::move(d));
  if (written)
    return success();
  warn("the cluster's state could not be recorded: " + written.error().to_string());
  return written.error();
}

void record_later(self_pointer self, event_draft d) {
  self->state.context->log->append_async({std::move(d)}, [](const result<std::uint64_t>& written) {
    if (!written)
      warn("the cluster's state could not be recorded: " + written.error().to_string());
  });
}

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

namespace {

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

} // namespace

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

namespace {

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

} // namespace

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

namespace {

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

} // namespace

} // namespace dispatching

namespace {

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
  return spawn_on_own_thread(system, dispatching::dispatcher, &context, std::move(options));
}

std::unique_ptr<task_runner> make_cluster_runner(dispatcher_agent dispatcher_handle, std::shared_ptr<task_channel> channel, worker_pool_events events) {
  return std::make_unique<cluster_runner>(std::move(dispatcher_handle), std::move(channel), std::move(events));
}

} // namespace flywheel
