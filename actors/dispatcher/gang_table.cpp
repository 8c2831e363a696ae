#include "actors/dispatcher/gang_table.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <csignal>

namespace flywheel {

namespace {
using what = gang_action::what;
using news = gang_news::kind;

constexpr nanoseconds away_max{2'000'000'000};        ///< as in gang_supervisor: a head that was stopped itself blames nobody
constexpr nanoseconds straggler_every{10'000'000'000};
constexpr nanoseconds clear_max{30'000'000'000};
constexpr nanoseconds prepare_again{1'000'000'000};   ///< a node that could not be asked is tried again then, if it still is one
constexpr std::size_t order_bytes_max = 256 * 1024;

std::string account_of(const std::string& id) { return "gang " + id; }

gang_options options_of(const gang_order& o) {
  gang_options g;
  if (o.step_max && o.step_max->count() == 0)
    g.watches_hangs = false;
  else if (o.step_max)
    g.watch.fixed = *o.step_max;
  if (o.start_max) {
    g.start_max = *o.start_max;
    g.start_is_strict = true;
  }
  return g;
}

restart_options restarts_of(const gang_order& o, std::uint32_t used) {
  restart_options r;
  r.restarts_max = o.restarts_max > used ? o.restarts_max - used : 0;
  return r;
}

/// "node1 (cpu 0, cpu 1), node2 (cpu 0)"
std::string places_text(const std::vector<slot_id>& places) {
  std::string text;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const bool is_first = i == 0 || places[i].node != places[i - 1].node;
    const bool is_last = i + 1 == places.size() || places[i].node != places[i + 1].node;
    text += (is_first ? (i == 0 ? "" : ", ") + places[i].node + " (" : ", ") + slot_text(places[i].name) + (is_last ? ")" : "");
  }
  return text;
}

bool has_node(const std::vector<slot_id>& places, const std::string& node) {
  return std::ranges::any_of(places, [&](const slot_id& s) { return s.node == node; });
}
} // namespace

std::string slot_text(const std::string& name) {
  const auto digit = name.find_first_of("0123456789");
  return digit == std::string::npos || digit == 0 ? name : name.substr(0, digit) + " " + name.substr(digit);
}

std::string_view name_of(gang_news::kind k) noexcept {
  switch (k) {
  case news::leased: return "leased";
  case news::started: return "started";
  case news::straggler: return "straggler";
  case news::garbled: return "garbled";
  case news::stuck: return "stuck";
  case news::failed: return "failed";
  case news::yielded: return "yielded";
  case news::done: return "done";
  case news::gave_up: return "gave_up";
  case news::cancelled: return "cancelled";
  }
  return "unknown";
}

status check(const gang_order& o) {
  const auto wrong = [&](std::string text) { return error{errc::invalid_argument, std::move(text), o.id}; };
  if (!is_valid_name(o.id))
    return wrong("a gang's name is 1 to 64 letters, digits, '-', '_' and '.'");
  if (o.ranks == 0 || o.ranks > static_cast<std::uint32_t>(gang_ranks_max))
    return wrong("a gang has 1 to " + std::to_string(gang_ranks_max) + " ranks, not " + std::to_string(o.ranks));
  if (o.command.empty() || o.command.front().empty())
    return wrong("a gang needs a command");
  if (!o.checkpoints.empty() && o.checkpoints.front() != '/')
    return wrong("the folder of checkpoints is named by its absolute path");
  if (!o.folder.empty() && o.folder.front() != '/')
    return wrong("the folder to start in is named by its absolute path");
  if (o.time_max < std::chrono::seconds{1} || o.time_max > std::chrono::hours{24 * 366})
    return wrong("a gang's time is 1 s to a year");
  if (o.stop_grace.count() < 0 || o.stop_grace > std::chrono::hours{1})
    return wrong("the time between SIGTERM and SIGKILL is 0 s to an hour");
  if (o.restarts_max > 1'000'000 || o.priority < -1'000'000 || o.priority > 1'000'000)
    return wrong("restarts and priorities are below a million");
  if ((o.step_max && o.step_max->count() < 0) || (o.start_max && o.start_max->count() < 0))
    return wrong("a time is not negative");
  std::size_t bytes = 0;
  for (const auto* texts : {&o.command, &o.environment})
    for (const auto& t : *texts) {
      bytes += t.size() + 1;
      if (t.find('\0') != std::string::npos)
        return wrong("an argument or variable holds a zero byte");
    }
  if (bytes + o.folder.size() + o.checkpoints.size() > order_bytes_max)
    return wrong("the command and its variables have more than " + format_bytes(order_bytes_max));
  for (const auto& e : o.environment)
    if (e.find('=') == std::string::npos || e.front() == '=')
      return wrong("a variable is given as NAME=VALUE, not '" + printable(e, 60) + "'");
  return success();
}

// ---- ordered, queued --------------------------------------------------------------------------------------------------------

status gang_table::submit(const gang_order& o, lease_table& leases, mono_time now) {
  FLYWHEEL_CHECK(check(o));
  if (const auto i = gangs_.find(o.id); i != gangs_.end()) {
    if (i->second.order == o)
      return success();
    return error{errc::already_exists, "another gang has this name and is not over", o.id, "choose another name, or end that one: flywheel cancel " + o.id};
  }
  entry e;
  e.order = o;
  admit(std::move(e), leases, now);
  return success();
}

status gang_table::resume(const gang_memory& m, lease_table& leases, mono_time now) {
  FLYWHEEL_CHECK(check(m.order));
  entry e;
  e.order = m.order;
  e.attempt = m.attempt;
  e.restarts_before = m.restarts;
  e.used = m.used;
  e.avoid = m.avoid;
  e.last_word = m.attempt > 0 ? "the head has started anew" : "";
  admit(std::move(e), leases, now);
  return success();
}

void gang_table::admit(entry e, lease_table& leases, mono_time now) {
  e.restarts = restart_policy{restarts_of(e.order, e.restarts_before)};
  const auto left = std::max(e.order.time_max - e.used, nanoseconds{});
  const auto spent = leases.budgets().find(account_of(e.order.id)); // of a gang of this name that is over
  (void)leases.open_account(account_of(e.order.id), left * e.order.ranks + (spent != nullptr ? spent->spent : nanoseconds{}));
  auto& kept = gangs_.insert_or_assign(e.order.id, std::move(e)).first->second;
  queue(kept, leases, now);
}

void gang_table::queue(entry& e, lease_table& leases, mono_time now) {
  gang_request r;
  r.id = e.order.id;
  r.account = account_of(e.order.id);
  r.ranks = e.order.ranks;
  r.kind = e.order.kind;
  r.priority = e.order.priority;
  r.needs_files = true; // the rendezvous, the checkpoints and the logs
  r.avoid = e.avoid;
  r.time_max = e.order.time_max - e.used;
  if (!r.avoid.empty() && !leases.could_ever_fit(r))
    r.avoid.clear(); // better there than nowhere
  e.now = phase::queued;
  const auto id = e.order.id;
  if (r.time_max.count() <= 0)
    return end(e, news::gave_up, "its time of " + format_duration(e.order.time_max) + " is over", {});
  if (const auto asked = leases.ask(r, now); !asked)
    end(e, news::gave_up, asked.error().to_string(), {});
}

status gang_table::cancel(const std::string& id, const std::string& why, lease_table& leases, mono_time now) {
  const auto i = gangs_.find(id);
  if (i == gangs_.end())
    return error{errc::not_found, "no gang of this name waits or runs", id};
  auto& e = i->second;
  switch (e.now) {
  case phase::queued: (void)leases.withdraw(id); break;
  case phase::preparing: give_back(e, leases, now); break;
  case phase::resting: break;
  case phase::up:
    stop(e, entry::stop::cancelled, why, now);
    pump(id, leases, now);
    return success();
  }
  gang_cause cause;
  cause.end = gang_end::cancelled;
  cause.detail = why;
  end(e, news::cancelled, sentence_of(cause), cause);
  return success();
}

// ---- an attempt begins --------------------------------------------------------------------------------------------------------

gang_table::entry* gang_table::of(const std::string& id, std::uint64_t lease) {
  const auto i = gangs_.find(id);
  return i == gangs_.end() || i->second.lease == 0 || i->second.lease != lease ? nullptr : &i->second;
}

void gang_table::granted(const gang_lease& lease, mono_time now) {
  auto& e = gangs_.at(lease.id);
  FLYWHEEL_ASSERT(e.now == phase::queued && lease.ranks.size() == e.order.ranks, "what was asked for was granted");
  e.now = phase::preparing;
  e.lease = lease.epoch;
  e.places = lease.ranks;
  e.since = now;
  e.stopping = entry::stop::none;
  auto& n = tell(e, news::leased, std::to_string(e.order.ranks) + (e.order.ranks == 1 ? " slot" : " slots") + " of " + places_text(e.places) + " are its");
  n.places = e.places;
  act(e, what::prepare);
}

bool gang_table::prepared(const std::string& id, std::uint64_t lease, std::uint64_t attempt, int master_port, const std::string& rendezvous,
                          std::vector<std::string> addresses, mono_time now) {
  auto* e = of(id, lease);
  if (e == nullptr || e->now != phase::preparing || attempt <= e->attempt || addresses.size() != e->places.size())
    return false;
  e->now = phase::up;
  e->attempt = attempt;
  e->taken = attempt;
  e->master_port = master_port;
  e->rendezvous = rendezvous;
  e->addresses = std::move(addresses);
  e->hosts.clear();
  for (const auto& s : e->places)
    e->hosts[s.node];
  e->policy.emplace(attempt_of(id, lease)->seats, attempt, now, options_of(e->order));
  e->turned = now;
  e->kill_at.reset();
  e->killed.reset();
  e->kill_sent = e->stuck_told = false;
  e->slow.clear();
  tell(*e, news::started, "attempt " + std::to_string(attempt) + " begins on " + places_text(e->places));
  for (const auto& [node, h] : e->hosts)
    act(*e, what::start, node);
  return true;
}

void gang_table::prepare_failed(const std::string& id, std::uint64_t lease, std::uint64_t taken, const error& why, lease_table& leases, mono_time now) {
  auto* e = of(id, lease);
  if (e == nullptr || e->now != phase::preparing)
    return;
  if (taken > 0)
    e->taken = taken;
  give_back(*e, leases, now);
  if (why.code == errc::stale_epoch)
    return end(*e, news::gave_up, "somebody else has taken its checkpoint folder over: " + why.to_string(), {});
  if (why.code != errc::unreachable && why.code != errc::timed_out)
    return end(*e, news::gave_up, "its ranks cannot be started: " + why.to_string(), {});
  tell(*e, news::yielded, "its lease was not used: " + why.to_string()).used = e->used;
  e->now = phase::resting;
  e->rest_until = now + prepare_again;
}

std::optional<gang_attempt> gang_table::attempt_of(const std::string& id, std::uint64_t lease) const {
  const auto i = gangs_.find(id);
  if (i == gangs_.end() || i->second.lease == 0 || i->second.lease != lease || i->second.now != phase::up)
    return std::nullopt;
  const auto& e = i->second;
  gang_attempt a;
  a.order = e.order;
  a.attempt = e.attempt;
  a.lease = lease;
  a.restart = e.restarts_so_far();
  std::map<std::string, int> on;
  for (const auto& s : e.places) {
    a.seats.push_back({s.node, slot_text(s.name), on[s.node]++});
    const bool is_gpu = e.order.kind == slot_kind::gpu && s.name.starts_with("gpu");
    a.gpus.push_back(is_gpu ? std::atoi(s.name.c_str() + 3) : -1);
  }
  a.addresses = e.addresses;
  a.master_port = e.master_port;
  a.rendezvous = e.rendezvous;
  return a;
}

const gang_order* gang_table::order_of(const std::string& id) const {
  const auto i = gangs_.find(id);
  return i == gangs_.end() ? nullptr : &i->second.order;
}
std::uint64_t gang_table::last_attempt(const std::string& id) const {
  const auto i = gangs_.find(id);
  return i == gangs_.end() ? 0 : i->second.attempt;
}
std::optional<std::uint64_t> gang_table::taken_before(const std::string& id) const {
  const auto i = gangs_.find(id);
  return i == gangs_.end() ? std::nullopt : i->second.taken;
}

// ---- an attempt runs ----------------------------------------------------------------------------------------------------------

bool gang_table::observe(const std::string& id, const std::string& node, std::uint64_t lease, std::span<const gang_observation> seen, lease_table& leases,
                         mono_time now) {
  auto* e = of(id, lease);
  if (e == nullptr || e->now != phase::up || !e->hosts.contains(node))
    return false;
  auto& h = e->hosts.at(node);
  h.confirmed = true;
  for (const auto& o : seen) {
    if (const auto* r = std::get_if<rank_observation>(&o)) {
      if (r->rank < 0 || static_cast<std::size_t>(r->rank) >= e->places.size() || e->places[static_cast<std::size_t>(r->rank)].node != node || r->attempt != e->attempt)
        continue; // not its own rank
      if (const auto* g = std::get_if<rank_garbled>(&r->what))
        tell(*e, news::garbled, "rank " + std::to_string(r->rank) + " (" + node + "): " + g->why.what);
      e->policy->observe(o, now);
    } else if (const auto* c = std::get_if<host_cleared>(&o)) {
      if (c->attempt != e->attempt)
        continue;
      if (e->policy->state() != gang_state::clearing)
        e->policy->observe(host_lost{node, "its ranks are gone"}, now); // harmless where all of them had ended
      h.cleared = true;
    } else if (const auto* lost = std::get_if<host_lost>(&o)) {
      e->policy->observe(host_lost{node, lost->why}, now);
    }
  }
  pump(id, leases, now);
  return true;
}

void gang_table::unknown_there(const std::string& id, const std::string& node, std::uint64_t lease, lease_table& leases, mono_time now) {
  auto* e = of(id, lease);
  if (e == nullptr || e->now != phase::up || !e->hosts.contains(node))
    return;
  if (e->policy->state() != gang_state::clearing)
    e->policy->observe(host_lost{node, "the node does not have its ranks"}, now);
  e->hosts.at(node).cleared = true;
  pump(id, leases, now);
}

void gang_table::refused(const std::string& id, const std::string& node, std::uint64_t lease, const error& why, lease_table& leases, mono_time now) {
  auto* e = of(id, lease);
  if (e == nullptr || e->now != phase::up || !e->hosts.contains(node))
    return;
  e->policy->observe(host_lost{node, why.to_string()}, now);
  e->hosts.at(node).cleared = true;
  pump(id, leases, now);
}

void gang_table::confirmed(const std::string& id, const std::string& node, std::uint64_t lease) {
  auto* e = of(id, lease);
  if (e != nullptr && e->now == phase::up && e->hosts.contains(node))
    e->hosts.at(node).confirmed = true;
}

void gang_table::lose_node(const std::string& node, const std::string& reason, lease_table& leases, mono_time now) {
  std::vector<std::string> concerned;
  for (const auto& [id, e] : gangs_)
    if (e.lease != 0 && has_node(e.places, node))
      concerned.push_back(id);
  for (const auto& id : concerned) {
    auto& e = gangs_.at(id);
    leases.forget_slots(id, node);
    if (e.now == phase::preparing) {
      give_back(e, leases, now);
      tell(e, news::yielded, "its lease was not used: " + reason).used = e.used;
      queue(e, leases, now);
      continue;
    }
    auto& h = e.hosts.at(node);
    if (!h.cleared)
      e.policy->observe(host_lost{node, reason}, now);
    h.cleared = true;
    pump(id, leases, now);
  }
}

void gang_table::disconnected(const std::string& node) {
  for (auto& [id, e] : gangs_)
    if (e.now == phase::up)
      if (const auto h = e.hosts.find(node); h != e.hosts.end())
        h->second.is_away = true;
}

void gang_table::heard(const std::string& node, mono_time now) {
  for (auto& [id, e] : gangs_)
    if (e.now == phase::up)
      if (const auto h = e.hosts.find(node); h != e.hosts.end() && std::exchange(h->second.is_away, false))
        e.policy->forgive(now);
}

void gang_table::synced(const std::string& node, const std::map<std::string, std::uint64_t>& held, lease_table& leases, mono_time now) {
  for (const auto& [id, lease] : held)
    if (const auto* e = of(id, lease); e == nullptr || e->now != phase::up || !e->hosts.contains(node)) {
      gang_action a;
      a.is = what::signal;
      a.gang = id;
      a.node = node;
      a.lease = lease;
      a.number = SIGKILL;
      actions_.push_back(std::move(a));
    }
  std::vector<std::string> concerned;
  for (const auto& [id, e] : gangs_)
    if (e.now == phase::up && e.hosts.contains(node))
      concerned.push_back(id);
  for (const auto& id : concerned) {
    auto& e = gangs_.at(id);
    auto& h = e.hosts.at(node);
    if (std::exchange(h.is_away, false))
      e.policy->forgive(now);
    const bool clears = e.policy->state() == gang_state::clearing;
    const auto has = held.find(id);
    if (h.cleared) {
    } else if (has != held.end() && has->second == e.lease) {
      h.confirmed = true;
      if (e.kill_sent)
        act(e, what::signal, node, SIGKILL);
      else if (e.kill_at)
        act(e, what::signal, node, SIGTERM);
    } else if (h.confirmed || clears) {
      if (!clears)
        e.policy->observe(host_lost{node, "the node came back without its ranks"}, now);
      h.cleared = true;
    } else {
      act(e, what::start, node);
    }
    pump(id, leases, now);
  }
}

void gang_table::yield_to(const std::string& id, const std::string& whom, mono_time now) {
  const auto i = gangs_.find(id);
  if (i == gangs_.end())
    return;
  stop(i->second, entry::stop::yields, "it makes way for " + whom, now); // tick() goes on with it
}

void gang_table::overdue(const gang_lease& lease, mono_time now) {
  if (auto* e = of(lease.id, lease.epoch); e != nullptr && e->stopping != entry::stop::time_over && e->stopping != entry::stop::cancelled)
    stop(*e, entry::stop::time_over, "its time of " + format_duration(e->order.time_max) + " is over", now);
}

void gang_table::stop(entry& e, entry::stop how, std::string why, mono_time now) {
  e.stopping = how;
  e.stop_reason = why;
  if (e.now != phase::up || e.policy->state() == gang_state::clearing)
    return;
  e.policy->cancel(std::move(why), now);
  e.kill_at = now + e.order.stop_grace;
  for (const auto& [node, h] : e.hosts)
    if (!h.cleared)
      act(e, what::signal, node, SIGTERM);
}

void gang_table::tell_straggler(entry& e, mono_time now) {
  if (now < e.slow_silent_until || e.policy->state() != gang_state::running)
    return;
  const auto verdict = e.policy->straggler();
  const std::string who = verdict.rank >= 0 ? std::to_string(verdict.rank) : "";
  if (who == e.slow)
    return;
  e.slow = who;
  e.slow_silent_until = now + straggler_every;
  std::string where;
  if (verdict.rank >= 0) {
    const auto& s = e.places[static_cast<std::size_t>(verdict.rank)];
    where = " (rank " + who + " is on " + s.node + ", " + slot_text(s.name) + ")";
  }
  tell(e, news::straggler, verdict.rank >= 0 ? verdict.reason + where : "no rank is slow any more");
}

void gang_table::pump(const std::string& id, lease_table& leases, mono_time now) {
  auto& e = gangs_.at(id);
  if (e.now != phase::up)
    return;
  auto& p = *e.policy;
  e.turned = now;
  const bool is_blind = std::ranges::any_of(e.hosts, [](const auto& h) { return h.second.is_away && !h.second.cleared; });
  if (!is_blind || p.state() == gang_state::clearing)
    p.judge(now);
  tell_straggler(e, now);
  if (p.state() != gang_state::clearing && p.state() != gang_state::over)
    return;
  if (p.state() == gang_state::clearing && !e.kill_sent && (!e.kill_at || p.all_ended() || now >= *e.kill_at)) {
    e.kill_sent = true;
    e.killed = now;
    for (const auto& [node, h] : e.hosts)
      if (!h.cleared)
        act(e, what::signal, node, SIGKILL);
  }
  for (const auto& [node, h] : e.hosts)
    if (h.cleared && p.state() == gang_state::clearing)
      p.observe(host_cleared{node, e.attempt}, now);
  if (p.state() == gang_state::over)
    return finish_attempt(e, leases, now);
  if (e.killed && !e.stuck_told && now - *e.killed > clear_max) {
    e.stuck_told = true;
    std::string where;
    for (const auto& [node, h] : e.hosts)
      where += h.cleared ? "" : (where.empty() ? "" : ", ") + node;
    tell(e, news::stuck, "processes of it survive SIGKILL for " + format_duration(now - *e.killed) + " on " + where +
                             "; its slots are not free (look for processes in state D: a driver or a file system holds them)");
  }
}

// ---- an attempt ends ----------------------------------------------------------------------------------------------------------

void gang_table::give_back(entry& e, lease_table& leases, mono_time now) {
  e.used = used_by(e, now);
  (void)leases.release(e.order.id, e.lease, now);
  e.lease = 0;
}

void gang_table::finish_attempt(entry& e, lease_table& leases, mono_time now) {
  const auto cause = e.policy->cause();
  const auto steps = e.policy->steps_by_all();
  const auto loss = e.policy->loss();
  act(e, what::clean);
  give_back(e, leases, now);
  e.policy.reset();
  e.hosts.clear();
  const auto fill = [&](gang_news& n) {
    n.steps = steps;
    n.loss = loss;
  };
  if (cause.end == gang_end::succeeded) {
    auto& n = tell(e, news::done, sentence_of(cause));
    n.cause = cause;
    fill(n);
    gangs_.erase(e.order.id);
    return;
  }
  const auto stopping = std::exchange(e.stopping, entry::stop::none);
  if (stopping == entry::stop::cancelled || stopping == entry::stop::time_over) {
    auto said = cause;
    if (said.end != gang_end::cancelled)
      said.detail += (said.detail.empty() ? "" : "; ") + e.stop_reason;
    const bool by_person = stopping == entry::stop::cancelled;
    return end(e, by_person ? news::cancelled : news::gave_up, by_person ? sentence_of(said) : e.stop_reason, said);
  }
  if (cause.end == gang_end::cancelled) { // it makes way: no failure
    auto& n = tell(e, news::yielded, e.stop_reason + "; it goes on from its newest checkpoint when slots are free");
    n.used = e.used;
    fill(n);
    return queue(e, leases, now);
  }
  if (cause.rank >= 0 && cause.end != gang_end::not_startable) {
    const auto& at = e.places[static_cast<std::size_t>(cause.rank)];
    if (++e.failures[at] >= avoid_after)
      e.avoid.insert(at);
  }
  const auto verdict = e.restarts.decide(cause);
  auto& n = tell(e, news::failed, sentence_of(cause) + "; all ranks were stopped: " + verdict.reason);
  n.cause = cause;
  n.restart = verdict.restart;
  n.reason = verdict.reason;
  n.after = verdict.after;
  n.used = e.used;
  n.avoid = e.avoid;
  fill(n);
  if (!verdict.restart)
    return end(e, news::gave_up, sentence_of(cause) + "; final: " + verdict.reason, cause);
  if (verdict.after.count() == 0)
    return queue(e, leases, now);
  e.now = phase::resting;
  e.rest_until = now + verdict.after;
}

void gang_table::end(entry& e, gang_news::kind how, std::string text, gang_cause cause) {
  auto& n = tell(e, how, std::move(text));
  n.cause = std::move(cause);
  if (how == news::gave_up && n.cause.end == gang_end::succeeded)
    n.cause.end = gang_end::cancelled; // no attempt is to blame
  gangs_.erase(e.order.id);
}

// ---- time -----------------------------------------------------------------------------------------------------------------------

void gang_table::tick(lease_table& leases, mono_time now) {
  std::vector<std::string> all;
  for (const auto& [id, e] : gangs_)
    all.push_back(id);
  for (const auto& id : all) {
    auto& e = gangs_.at(id);
    switch (e.now) {
    case phase::up:
      if (now - e.turned > away_max)
        e.policy->forgive(now);
      pump(id, leases, now);
      break;
    case phase::resting:
      if (now >= e.rest_until)
        queue(e, leases, now);
      break;
    case phase::preparing: // whatever it is to stop for: it holds nothing but its lease
      if (e.stopping == entry::stop::none)
        break;
      give_back(e, leases, now);
      if (e.stopping != entry::stop::yields) {
        end(e, news::gave_up, e.stop_reason, {});
        break;
      }
      e.stopping = entry::stop::none;
      tell(e, news::yielded, e.stop_reason).used = e.used;
      queue(e, leases, now);
      break;
    case phase::queued: {
      if (e.avoid.empty())
        break;
      gang_request r;
      r.ranks = e.order.ranks;
      r.kind = e.order.kind;
      r.needs_files = true;
      r.avoid = e.avoid;
      if (leases.could_ever_fit(r))
        break;
      e.avoid.clear(); // the others have gone
      e.failures.clear();
      (void)leases.withdraw(id);
      queue(e, leases, now);
      break;
    }
    }
  }
}

std::optional<mono_time> gang_table::next_tick() const {
  std::optional<mono_time> next;
  const auto sooner = [&](std::optional<mono_time> t) {
    if (t)
      next = next ? std::min(*next, *t) : *t;
  };
  for (const auto& [id, e] : gangs_) {
    if (e.now == phase::resting)
      sooner(e.rest_until);
    if (e.now == phase::preparing && e.stopping != entry::stop::none)
      sooner(e.since);
    if (e.now != phase::up)
      continue;
    sooner(e.policy->next_look(e.turned));
    if (!e.kill_sent)
      sooner(e.kill_at);
    if (e.killed && !e.stuck_told)
      sooner(*e.killed + clear_max + nanoseconds{1});
  }
  return next;
}

// ---- telling ---------------------------------------------------------------------------------------------------------------------

void gang_table::act(const entry& e, gang_action::what is, const std::string& node, int number) {
  gang_action a;
  a.is = is;
  a.gang = e.order.id;
  a.node = node;
  a.lease = e.lease;
  a.attempt = e.attempt;
  a.number = number;
  actions_.push_back(std::move(a));
}

gang_news& gang_table::tell(entry& e, gang_news::kind kind, std::string text) {
  act(e, what::tell);
  auto& n = actions_.back().news;
  n.what = kind;
  n.attempt = e.attempt;
  n.restarts = e.restarts_so_far();
  n.text = std::move(text);
  if (kind != news::straggler && kind != news::garbled)
    e.last_word = n.text;
  return n;
}

std::vector<gang_view> gang_table::views(const lease_table& leases, mono_time now) const {
  std::vector<gang_view> all;
  for (const auto& [id, e] : gangs_) {
    gang_view v;
    v.id = id;
    v.user = e.order.user;
    v.ranks = e.order.ranks;
    v.priority = e.order.priority;
    v.restarts = e.restarts_so_far();
    v.attempt = e.attempt;
    switch (e.now) {
    case phase::queued:
      v.state = "waits";
      v.text = leases.why_waiting(id, now).value_or("waits");
      break;
    case phase::preparing:
      v.state = "begins";
      v.text = "has " + places_text(e.places) + "; takes its next attempt";
      break;
    case phase::resting:
      v.state = "rests";
      v.text = e.last_word + "; it is tried again in " + format_duration(std::max(nanoseconds{}, e.rest_until - now));
      break;
    case phase::up:
      v.state = e.policy->state() == gang_state::clearing ? "stops" : "runs";
      v.steps = e.policy->steps_by_all();
      v.text = "attempt " + std::to_string(e.attempt) + " on " + places_text(e.places) + ", " + std::to_string(v.steps) + " steps by all";
      if (!e.slow.empty())
        v.text += "; " + e.policy->straggler().reason;
      if (v.state == "stops")
        v.text += "; " + sentence_of(e.policy->cause());
      for (const auto& [node, h] : e.hosts)
        v.nodes.push_back(node);
      break;
    }
    all.push_back(std::move(v));
  }
  return all;
}

} // namespace flywheel
