#include "actors/dispatcher/task_host_actor.hpp"

#include "actors/dispatcher/task_host_state_actor.hpp"
#include "actors/gate/access_policy.hpp"
#include "actors/gate/gate_answers.hpp"
#include "actors/protocol/control_format.hpp"
#include "actors/protocol/own_thread.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

#include <csignal>
#include <filesystem>

namespace flywheel {
namespace hosting {

using nlohmann::json;

namespace {

/// A verdict may need the head's agents to think.
constexpr std::uint64_t report_wait_ms = 60'000;

void open_pool(self_pointer self);

} // namespace

void call_head(self_pointer self, const json& body, std::uint64_t wait_ms, std::function<void(const gate_answer&)> then) {
  auto& st = self->state;
  cafx::request(self, st.options.gate, std::chrono::milliseconds{2 * wait_ms},
                gate_ask{st.head, std::string{gate::cluster_service}, control::encode(body), wait_ms})
      .then([then](const gate_answer& a) { then(a); }, [then](const caf::error& e) { then(failure(error{errc::unreachable, cafx::render(e)})); });
}

namespace {

// ---- the lease ---------------------------------------------------------------------------------------------------------------

/// Every worker is ended, and nothing of it is told to anybody.
void end_everything(self_pointer self) {
  auto& st = self->state;
  ++st.pool_number; // what the old pool still says is not listened to
  st.pool.reset();  // kills and reaps
  for (auto& [id, g] : st.gangs)
    g.hands->signal(SIGKILL); // all at once, then one after the other
  st.gangs.clear();
  ++st.courier_number;
  st.courier.reset(); // stops what is under way
  st.running.clear();
  st.away.clear();
  st.unsaved.clear();
  st.unreported.clear();
  st.reports.clear();
  open_pool(self);
}

} // namespace

void lapse(self_pointer self, const std::string& why) {
  auto& st = self->state;
  const auto had = st.running.size() + st.gangs.size();
  end_everything(self);
  st.watch.reset();
  st.synced = false;
  st.head.clear();
  st.options.incarnation = st.options.next_incarnation();
  if (auto keys = transfer::curve_keys::make()) { // the head may still hold the old one for somebody it has given up
    st.options.keys = std::make_shared<const transfer::curve_keys>(std::move(*keys));
    st.options.greeting = dispatch::to_text({1, st.options.keys->public_key()});
  }
  st.options.log("this node may no longer work (" + why + "): " + std::to_string(had) + " tasks were ended; it joins again as incarnation " +
                 std::to_string(st.options.incarnation));
  cafx::anon_send(st.options.gate, gate_renew{st.options.incarnation, st.options.greeting});
}

// ---- telling the head -----------------------------------------------------------------------------------------------------------

void tell_end(self_pointer self, const std::string& task) {
  auto& st = self->state;
  const auto i = st.unreported.find(task);
  if (i == st.unreported.end() || st.head.empty())
    return;
  const auto lease = i->second.lease;
  call_head(self, {{"op", "ended"}, {"lease", lease}, {"end", i->second.what}, {"handed_back", i->second.handed_back}}, call_wait_ms, [=](const gate_answer& a) {
    auto& state = self->state;
    const auto u = state.unreported.find(task);
    if (u == state.unreported.end() || u->second.lease != lease)
      return;
    const auto code = a.problem ? a.problem.to_error().code : errc::ok;
    if (code == errc::timed_out && !state.head.empty())
      return tell_end(self, task); // the connection stands: again
    if (code != errc::unreachable && code != errc::timed_out)
      state.unreported.erase(u); // taken, or not ours any more
  });
}

void tell_report(self_pointer self, std::uint64_t number) {
  auto& st = self->state;
  const auto i = st.reports.find(number);
  if (i == st.reports.end() || st.head.empty())
    return;
  call_head(self, {{"op", "report"}, {"lease", i->second.lease}, {"report", i->second.what}}, report_wait_ms, [=](const gate_answer& a) {
    auto& state = self->state;
    if (!state.reports.contains(number))
      return;
    const auto code = a.problem ? a.problem.to_error().code : errc::ok;
    if (code == errc::unreachable)
      return; // told again with the next connection
    state.reports.erase(number);
    const auto body = a.problem ? result<json>{a.problem.to_error()} : control::decode(a.body);
    // Nobody who judges: the trial goes on. Pruning saves time, it is not a safety matter.
    const bool go_on = !body || !body->contains("go_on") || !(*body)["go_on"].is_boolean() || (*body)["go_on"].get<bool>();
    if (state.pool)
      state.pool->verdict(number, go_on);
  });
}

namespace {

void sync(self_pointer self) {
  auto& st = self->state;
  std::vector<held_task> held;
  for (const auto& [task, lease] : st.running)
    held.push_back({task, lease});
  for (const auto& [task, e] : st.unreported)
    held.push_back({task, e.lease});
  json gangs = json::object();
  for (const auto& [id, g] : st.gangs)
    gangs[id] = g.lease;
  const auto address = address_towards(st.options.head_host, st.options.head_port);
  auto slots = st.pool && (st.shares_files || st.courier) ? st.options.slots : std::vector<slot>{};
  for (auto& s : slots)
    s.shares_files = st.shares_files;
  call_head(self, {{"op", "sync"}, {"gangs", std::move(gangs)}, {"address", address ? *address : std::string{}}, {"slots", dispatch::to_json(slots)}, {"held", dispatch::to_json(held)}},
            call_wait_ms, [=](const gate_answer& a) {
              auto& state = self->state;
              if (a.problem) {
                const auto why = a.problem.to_error();
                if (why.code == errc::stale_epoch)
                  return lapse(self, why.what);
                if (why.code != errc::unreachable)
                  state.options.log("the head does not take what this node offers: " + why.to_string());
                return;
              }
              std::vector<std::string> ends;
              for (const auto& [task, e] : state.unreported)
                ends.push_back(task);
              for (const auto& task : ends)
                tell_end(self, task);
              std::vector<std::uint64_t> numbers;
              for (const auto& [number, r] : state.reports)
                numbers.push_back(number);
              for (const auto number : numbers)
                tell_report(self, number);
              std::vector<std::string> hosted;
              for (const auto& [id, g] : state.gangs)
                hosted.push_back(id);
              for (const auto& id : hosted)
                tell_seen(self, id);
            });
}

void send_beat(self_pointer self) {
  auto& st = self->state;
  const auto now = st.now();
  const auto number = ++st.beat;
  st.next_beat = now + std::chrono::milliseconds{st.terms.heartbeat_ms};
  if (st.watch)
    st.watch->sent(number, now);
  const auto incarnation = st.options.incarnation;
  call_head(self, {{"op", "beat"}, {"n", number}}, st.terms.dead_after_ms, [=](const gate_answer& a) {
    auto& state = self->state;
    if (state.options.incarnation != incarnation)
      return;
    if (a.problem) {
      if (const auto why = a.problem.to_error(); why.code == errc::stale_epoch)
        lapse(self, why.what);
      return;
    }
    if (!state.watch) { // the lease begins with the first beat that is answered, and counts from when it was sent
      lease_watch_rule rule;
      rule.dead_after = std::chrono::milliseconds{state.terms.dead_after_ms};
      rule.margin = std::min<nanoseconds>(rule.margin, rule.dead_after / 10);
      state.watch.emplace(rule, now);
    }
    state.watch->answered(number);
    if (state.page)
      state.page->set_end(state.watch->deadline());
    if (!state.synced && !state.head.empty()) {
      state.synced = true;
      sync(self);
    }
    arm(self);
  });
  arm(self);
}

} // namespace

void arm(self_pointer self) {
  auto& st = self->state;
  std::optional<mono_time> next;
  if (!st.head.empty())
    next = st.next_beat;
  if (st.watch)
    next = next ? std::min(*next, st.watch->deadline()) : st.watch->deadline();
  if (next && !st.away.empty())
    next = std::min(*next, st.next_save);
  if (!next || (st.armed && *st.armed <= *next))
    return;
  st.armed = next;
  cafx::delayed_send(self, self, std::max(nanoseconds{0}, *next - st.now()) + std::chrono::milliseconds{1}, tick_atom_v);
}

namespace {

void tick(self_pointer self) {
  auto& st = self->state;
  const auto now = st.now();
  if (st.armed && now < *st.armed)
    return; // an older one; the next is on its way
  st.armed.reset();
  if (st.watch && !st.watch->holds(now))
    lapse(self, "the head has not answered for too long");
  if (!st.head.empty() && now >= st.next_beat)
    send_beat(self);
  if (!st.away.empty() && now >= st.next_save)
    save_running(self);
  arm(self);
}

// ---- the head speaks -----------------------------------------------------------------------------------------------------------

bool reads_token(const dispatch::welcome& w) {
  const auto there = read_file(std::filesystem::path{w.state} / "run" / "cluster.token", 256);
  return there && *there == w.token;
}

gate_answer peer(self_pointer self, const peer_state& m) {
  auto& st = self->state;
  if (!m.dialled)
    return failure(error{errc::not_allowed, "this node works for a head and lets nobody in", st.options.node, "connect to the head"});
  if (!m.connected) {
    if (m.peer == st.head) {
      st.options.log("the connection to " + m.peer + " is lost: " + m.problem.what);
      st.head.clear();
      st.synced = false;
    } else if (m.problem) {
      const auto why = m.problem.to_error();
      if (why.code == errc::stale_epoch && !st.leaving) {
        lapse(self, why.what);
      } else if (why.code != errc::cancelled && why.what != st.last_trouble) { // what we did ourselves, and the same again, is no news
        st.last_trouble = why.what;
        st.options.log("not connected to " + m.peer + ": " + why.to_string());
      }
    }
    arm(self);
    return {};
  }
  const auto body = control::decode(m.text);
  const auto terms = body ? dispatch::welcome_from(*body) : result<dispatch::welcome>{body.error()};
  if (!terms) {
    st.options.log("the welcome of " + m.peer + " cannot be read: " + terms.error().to_string());
    return {};
  }
  if (st.terms.head_epoch != 0 && st.terms.head_epoch != terms->head_epoch) {
    st.options.log("the head has started anew: " + std::to_string(st.running.size()) + " tasks of its last life are ended");
    end_everything(self);
  }
  st.terms = *terms;
  st.head = m.peer;
  st.synced = false;
  st.last_trouble.clear();
  st.shares_files = reads_token(*terms);
  const auto no_files = st.shares_files ? std::string{} : open_courier(self);
  st.options.log("works for " + m.peer + " as incarnation " + std::to_string(st.options.incarnation) +
                 (st.shares_files ? "" : no_files.empty() ? "; its files come over the network, into " + st.options.folder.string()
                                            : "; but it does not share " + terms->state + ", and cannot fetch its files: it offers no slots (" + no_files + ")"));
  send_beat(self);
  return {};
}

gate_answer run(self_pointer self, const json& m) {
  auto& st = self->state;
  auto t = dispatch::task_from(m.value("task", json{}));
  if (!t)
    return failure(t.error());
  const auto lease = m.value("lease", std::uint64_t{0}), epoch = m.value("epoch", std::uint64_t{0});
  if (epoch != st.terms.epoch || !st.watch || !st.watch->holds(st.now()))
    return failure(error{errc::stale_epoch, "this node is not the one that it was meant for", st.options.node});
  if (!st.pool)
    return failure(st.pool_error);
  const auto id = t->task.id;
  if (const auto u = st.unreported.find(id); u != st.unreported.end() && u->second.lease == lease)
    return answer_of(json::object()); // it has ended already, and that is being told
  if (const auto r = st.running.find(id); r != st.running.end()) {
    if (r->second == lease)
      return answer_of(json::object());
    return failure(error{errc::already_exists, "an older run of it is being ended", id});
  }
  if (!st.shares_files && !st.courier)
    return failure(error{errc::stale_epoch, "this node cannot reach the task's files", st.options.node}); // told when it comes back
  st.running[id] = lease;
  if (st.shares_files) {
    st.pool->submit(std::move(*t));
    return answer_of(json::object());
  }
  st.away[id].lease = lease;
  st.next_save = st.now() + save_every;
  st.courier->prepare(lease, std::move(*t));
  arm(self);
  return answer_of(json::object());
}

gate_answer from_head(self_pointer self, const gate_call& m) {
  auto& st = self->state;
  const auto body = control::decode(m.body);
  if (!body)
    return failure(body.error());
  if (m.peer != st.head)
    return failure(error{errc::not_allowed, "it is not the head this node works for", m.peer});
  try {
    const auto op = body->value("op", "");
    if (op == "run")
      return run(self, *body);
    if (op == "stop") {
      const auto task = body->value("task", "");
      const auto r = st.running.find(task);
      const auto a = st.away.find(task);
      if (a != st.away.end() && !a->second.in_pool && a->second.lease == body->value("lease", std::uint64_t{0})) {
        a->second.cancelled = body->value("reason", "it was stopped");
        st.courier->drop(a->second.lease); // told as an interrupted fetch
      } else if (r != st.running.end() && r->second == body->value("lease", std::uint64_t{0}) && st.pool)
        st.pool->cancel(task, body->value("reason", ""));
      else if (const auto u = st.unreported.find(task); u != st.unreported.end() && u->second.lease == body->value("lease", std::uint64_t{0}))
        tell_end(self, task);
      return answer_of(json::object());
    }
    if (op == "gang_port") {
      const auto port = free_tcp_port();
      return port ? answer_of({{"port", *port}}) : failure(port.error());
    }
    if (op == "gang_start")
      return start_gang(self, *body);
    if (op == "gang_signal")
      return signal_gang(self, *body);
    if (op == "shutdown") {
      st.options.shut_down(body->value("reason", ""));
      return answer_of(json::object());
    }
    return failure(error{errc::unsupported, "heads do not say '" + printable(op, 40) + "'"});
  } catch (const json::exception& e) {
    return failure(error{errc::protocol_violation, e.what()});
  }
}

// ---- the pool speaks -----------------------------------------------------------------------------------------------------------

void open_pool(self_pointer self) {
  auto& st = self->state;
  const task_host_agent me{self};
  pool_port::listener to;
  to.reported = [me, pool = st.pool_number](std::uint64_t number, const wire::report& r) {
    cafx::anon_send(me, pool_report{pool, number, control::encode({{"report", dispatch::to_json(r)}})});
  };
  to.ended = [me, pool = st.pool_number](const task_end& e) { cafx::anon_send(me, pool_end{pool, control::encode({{"end", dispatch::to_json(e)}})}); };
  auto options = st.options.pool;
  options.slots = static_cast<std::uint32_t>(std::max<std::size_t>(1, st.options.slots.size()));
  auto page = lease_page::make();
  if (!page) {
    st.pool_error = page.error();
    st.options.log("this node computes nothing: " + page.error().to_string());
    return;
  }
  st.page = options.lease = *page;
  if (st.watch)
    st.page->set_end(st.watch->deadline());
  auto pool = st.options.open_pool(options, to, *st.options.time);
  if (pool) {
    st.pool = std::move(*pool);
  } else {
    st.pool_error = pool.error();
    st.options.log("this node computes nothing: " + pool.error().to_string());
  }
}

void ended(self_pointer self, const pool_end& m) {
  auto& st = self->state;
  const auto body = control::decode(m.bytes);
  if (m.pool != st.pool_number || !body)
    return;
  const auto task = (*body)["end"].value("task", "");
  const auto r = st.running.find(task);
  if (r == st.running.end())
    return;
  if (const auto a = st.away.find(task); a != st.away.end())
    return ended_away(self, task, a->second, (*body)["end"]);
  st.unreported[task] = {r->second, (*body)["end"]};
  st.running.erase(r);
  tell_end(self, task);
}

void reported(self_pointer self, const pool_report& m) {
  auto& st = self->state;
  const auto body = control::decode(m.bytes);
  if (m.pool != st.pool_number || !body)
    return;
  const auto r = st.running.find((*body)["report"].value("task", ""));
  if (r == st.running.end())
    return;
  if (const auto a = st.away.find(r->first); a != st.away.end()) {
    if (a->second.lost || !st.courier)
      return;
    st.unsaved[m.number] = {r->second, (*body)["report"]};
    ++a->second.saves;
    return st.courier->save(a->second.lease, m.number);
  }
  st.reports[m.number] = {r->second, (*body)["report"]};
  tell_report(self, m.number);
}

caf::result<acknowledgement> leave(self_pointer self) {
  auto& st = self->state;
  st.leaving = true;
  end_everything(self);
  if (st.head.empty())
    return acknowledgement{};
  auto promise = self->make_response_promise<acknowledgement>();
  call_head(self, {{"op", "leave"}}, 2000, [promise](const gate_answer&) mutable { promise.deliver(acknowledgement{}); });
  return promise;
}

task_host_agent::behavior_type host(self_pointer self, const task_host_options& options) {
  self->state.options = options;
  open_pool(self);
  return {
      [=](const gate_call& m) { return from_head(self, m); },
      [](const gate_note&) {},
      [=](const peer_state& m) { return peer(self, m); },
      [=](const pool_report& m) { reported(self, m); },
      [=](const pool_end& m) { ended(self, m); },
      [=](const gang_ready& m) { tell_seen(self, m.gang); },
      [=](const files_moved& m) { moved(self, m); },
      [=](const shut_down&) { return leave(self); },
      [=](tick_atom) { tick(self); },
  };
}

} // namespace

} // namespace hosting

bool shares_files(const std::string& welcome) {
  const auto body = control::decode(welcome);
  const auto terms = body ? dispatch::welcome_from(*body) : result<dispatch::welcome>{body.error()};
  return terms && hosting::reads_token(*terms);
}

task_host_agent spawn_task_host(caf::actor_system& system, task_host_options options) { return spawn_on_own_thread(system, hosting::host, std::move(options)); }

} // namespace flywheel
