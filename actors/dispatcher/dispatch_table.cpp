#include "actors/dispatcher/dispatch_table.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {

namespace {
using what = dispatch_action::what;

/// Money is the goal's affair and was reserved there (actors/hpo/budget_ledger.hpp); here nobody is poor.
constexpr nanoseconds rich = std::chrono::hours{24 * 365 * 10};
/// The worker pool ends what takes too long; the lease is for a pool that does not.
constexpr nanoseconds lease_slack = std::chrono::seconds{60};

bool lives(member_state s) { return s == member_state::alive || s == member_state::suspect; }
} // namespace

dispatch_table::dispatch_table(dispatch_rule rule, std::string head, std::uint64_t last_epoch, std::uint64_t last_lease)
    : rule_(std::move(rule)), head_(std::move(head)), members_(rule_.membership, last_epoch), leases_(rule_.leases, last_lease) {}

status dispatch_table::add_own_slots(std::span<const slot> slots) {
  FLYWHEEL_CHECK(leases_.add_node(head_, slots));
  with_slots_.insert(head_);
  synced_.insert(head_);
  return success();
}

// ---- nodes ------------------------------------------------------------------------------------------------------------

void dispatch_table::update(const std::string& node) {
  if (with_slots_.contains(node) && node != head_)
    leases_.set_draining(node, !members_.may_work(node) || !synced_.contains(node) || held_back_.contains(node));
}

void dispatch_table::take_changes(std::vector<membership_change>& changes, mono_time now) {
  for (auto& c : changes) {
    act(what::member, {}, c.node, c.reason);
    actions_.back().change = c;
    if (!lives(c.to)) {
      unresolved_.erase(c.node);
      lose_node(c.node, "node " + c.node + " is " + std::string{name_of(c.to)} + ": " + c.reason, now);
    }
    if (c.to == member_state::suspect)
      gangs_.disconnected(c.node);
    else if (c.to == member_state::alive)
      gangs_.heard(c.node, now);
    update(c.node);
  }
  place(now);
}

result<std::uint64_t> dispatch_table::join(const hello_message& from, mono_time now) {
  if (from.node == head_)
    return error{errc::already_exists, "the head itself has this name", from.node, "issue the node a certificate of its own name"};
  std::vector<membership_change> changes;
  const auto epoch = members_.hello(from, now, changes);
  if (epoch)
    synced_.erase(from.node);
  take_changes(changes, now);
  return epoch;
}

void dispatch_table::restore(const std::string& node, std::uint64_t incarnation, std::uint64_t epoch, bool draining, mono_time now) {
  members_.restore(node, incarnation, epoch, draining, now);
  unresolved_.insert(node);
}

void dispatch_table::restore_gone(const std::string& node, std::uint64_t incarnation, std::uint64_t epoch) {
  members_.restore_gone(node, incarnation, epoch);
}

status dispatch_table::sync(const std::string& node, std::uint64_t incarnation, std::span<const slot> slots, std::span<const held_task> held, mono_time now,
                            const std::map<std::string, std::uint64_t>& held_gangs) {
  FLYWHEEL_CHECK(heartbeat(node, incarnation, now));
  if (!with_slots_.contains(node)) {
    FLYWHEEL_CHECK(leases_.add_node(node, slots));
    with_slots_.insert(node);
  }
  synced_.insert(node);
  unresolved_.erase(node);
  update(node);
  std::set<std::string> known;
  for (const auto& h : held) {
    if (holds(h.task, node, h.lease)) {
      known.insert(h.task);
      auto& e = tasks_.at(h.task);
      e.confirmed = true;
      if (e.cancelled) // the first time it was told may have been lost
        act(what::stop, h.task, node, "it was stopped", h.lease);
    } else {
      act(what::stop, h.task, node, "it is not this node's any more", h.lease);
    }
  }
  std::vector<std::string> lost;
  for (auto& [id, e] : tasks_) {
    if (e.node != node || known.contains(id))
      continue;
    if (e.confirmed || e.cancelled)
      lost.push_back(id); // it had it, and does not any more; or nobody wants it
    else
      act(what::start, id, node, {}, e.lease);
  }
  for (const auto& id : lost) {
    (void)leases_.release(id, tasks_.at(id).lease, now);
    requeue(id, "node " + node + " came back without it", now);
  }
  gangs_.synced(node, held_gangs, leases_, now);
  place(now);
  return success();
}

status dispatch_table::heartbeat(const std::string& node, std::uint64_t incarnation, mono_time now) {
  std::vector<membership_change> changes;
  auto ok = members_.heartbeat(node, incarnation, now, changes);
  if (!changes.empty())
    take_changes(changes, now);
  return ok;
}

void dispatch_table::disconnected(const std::string& node, std::uint64_t incarnation, mono_time now) {
  std::vector<membership_change> changes;
  members_.disconnected(node, incarnation, now, changes);
  if (const auto* m = members_.find(node); m != nullptr && m->incarnation == incarnation) {
    synced_.erase(node);
    gangs_.disconnected(node);
  }
  take_changes(changes, now);
}

status dispatch_table::leave(const std::string& node, std::uint64_t incarnation, mono_time now) {
  std::vector<membership_change> changes;
  auto ok = members_.leave(node, incarnation, now, changes);
  take_changes(changes, now);
  return ok;
}

status dispatch_table::drain(const std::string& node) {
  if (node == head_) {
    leases_.set_draining(head_, true);
    return success();
  }
  FLYWHEEL_CHECK(members_.drain(node));
  update(node);
  return success();
}

void dispatch_table::lose_node(const std::string& node, const std::string& reason, mono_time now) {
  synced_.erase(node);
  held_back_.erase(node); // its next life may do better
  if (with_slots_.erase(node) == 0)
    return;
  gangs_.lose_node(node, reason, leases_, now);
  for (const auto& lease : leases_.remove_node(node, now))
    requeue(lease.id, reason, now);
}

// ---- tasks ------------------------------------------------------------------------------------------------------------

status dispatch_table::queue(const std::string& id, entry& e, mono_time now) {
  gang_request r;
  r.id = id;
  r.account = e.account;
  r.time_max = (e.what.time_max.count() > 0 ? e.what.time_max : rule_.task_time_max) + lease_slack;
  FLYWHEEL_CHECK(leases_.open_account(e.account, rich));
  return leases_.ask(r, now);
}

status dispatch_table::submit(const std::string& account, worker_task t, mono_time now) {
  const auto id = t.task.id;
  if (tasks_.contains(id) || gangs_.has(id))
    return error{errc::already_exists, "this task is not over", id};
  entry e;
  e.what = std::move(t);
  e.account = account.empty() ? "nobody" : account;
  FLYWHEEL_CHECK(queue(id, e, now));
  tasks_.emplace(id, std::move(e));
  place(now);
  return success();
}

void dispatch_table::place(mono_time now) {
  if (!unresolved_.empty())
    return;
  const auto round = leases_.place(now);
  for (const auto& lease : round.preempt) {
    if (gangs_.has(lease.id)) {
      gangs_.yield_to(lease.id, lease.yields_to, now);
    } else if (auto& e = tasks_.at(lease.id); !e.cancelled) {
      e.makes_way = true;
      act(what::stop, lease.id, e.node, "it makes way for " + lease.yields_to, e.lease);
    }
  }
  for (const auto& lease : round.granted) {
    if (gangs_.has(lease.id)) {
      gangs_.granted(lease, now);
      continue;
    }
    auto& e = tasks_.at(lease.id);
    e.makes_way = false;
    e.node = lease.ranks.front().node;
    e.lease = lease.epoch;
    e.confirmed = false;
    act(what::start, lease.id, e.node, {}, lease.epoch);
  }
}

void dispatch_table::requeue(const std::string& task, const std::string& reason, mono_time now) {
  auto& e = tasks_.at(task);
  e.node.clear();
  e.confirmed = false;
  told_overdue_.erase(task);
  if (e.cancelled)
    return end(task, error{errc::cancelled, "it was stopped; " + reason}, now);
  if (!std::exchange(e.makes_way, false) && ++e.moves > rule_.moves_max)
    return end(task, error{errc::worker_lost, "lost with its node " + std::to_string(e.moves) + " times, at last because " + reason, task,
                           "see flywheel nodes; it may be what ends them"},
               now);
  if (const auto queued = queue(task, e, now); !queued)
    return end(task, queued.error(), now);
  act(what::moved, task, {}, reason);
}

void dispatch_table::end(const std::string& task, error problem, mono_time now) {
  const auto i = tasks_.find(task);
  if (i == tasks_.end())
    return;
  if (i->second.node.empty())
    (void)leases_.withdraw(task);
  else
    (void)leases_.release(task, i->second.lease, now);
  const auto attempt = i->second.what.task.attempt;
  tasks_.erase(i);
  told_overdue_.erase(task);
  act(what::end, task, {});
  actions_.back().attempt = attempt;
  actions_.back().problem = std::move(problem);
}

void dispatch_table::cancel(const std::string& task, const std::string& reason, mono_time now) {
  const auto i = tasks_.find(task);
  if (i == tasks_.end())
    return;
  auto& e = i->second;
  if (e.node.empty())
    return end(task, error{errc::cancelled, reason}, now);
  e.cancelled = true;
  act(what::stop, task, e.node, reason, e.lease);
}

void dispatch_table::confirmed(const std::string& task, std::uint64_t lease) {
  const auto i = tasks_.find(task);
  if (i != tasks_.end() && i->second.lease == lease && !i->second.node.empty())
    i->second.confirmed = true;
}

void dispatch_table::refused(const std::string& task, std::uint64_t lease, const error& why, mono_time now) {
  const auto i = tasks_.find(task);
  if (i == tasks_.end() || i->second.lease != lease || i->second.node.empty())
    return;
  end(task, why, now);
  place(now);
}

bool dispatch_table::ended(const std::string& task, std::uint64_t lease, mono_time now, bool was_stopped) {
  const auto i = tasks_.find(task);
  if (i == tasks_.end() || i->second.lease != lease || i->second.node.empty())
    return false;
  (void)leases_.release(task, lease, now);
  if (auto& e = i->second; e.makes_way && was_stopped && !e.cancelled) { // no loss of a node: it is not counted
    requeue(task, "it made way for something of larger priority", now);
    place(now);
    return false;
  }
  tasks_.erase(i);
  told_overdue_.erase(task);
  place(now);
  return true;
}

bool dispatch_table::handed_back(const std::string& task, const std::string& node, std::uint64_t lease, const std::string& why, mono_time now) {
  if (!holds(task, node, lease))
    return false;
  held_back_[node] = now + rule_.hold_back;
  update(node);
  (void)leases_.release(task, lease, now);
  requeue(task, "node " + node + " handed it back: " + why, now);
  place(now);
  return true;
}

bool dispatch_table::holds(const std::string& task, const std::string& node, std::uint64_t lease) const {
  const auto i = tasks_.find(task);
  return i != tasks_.end() && i->second.node == node && i->second.lease == lease;
}

// ---- time -------------------------------------------------------------------------------------------------------------

void dispatch_table::tick(mono_time now) {
  std::vector<membership_change> changes;
  members_.tick(now, changes);
  gangs_.tick(leases_, now);
  std::vector<std::string> forgiven;
  for (const auto& [node, until] : held_back_)
    if (now >= until)
      forgiven.push_back(node);
  for (const auto& node : forgiven) {
    held_back_.erase(node);
    update(node);
  }
  take_changes(changes, now);
  for (const auto& lease : leases_.overdue(now))
    if (gangs_.has(lease.id))
      gangs_.overdue(lease, now);
    else if (told_overdue_.insert(lease.id).second)
      act(what::stop, lease.id, lease.ranks.front().node, "its time is over", lease.epoch);
}

std::optional<mono_time> dispatch_table::next_tick() const {
  auto next = members_.next_tick();
  if (const auto lease = leases_.next_deadline())
    next = next ? std::min(*next, *lease) : *lease;
  if (const auto gang = gangs_.next_tick())
    next = next ? std::min(*next, *gang) : *gang;
  for (const auto& [node, until] : held_back_)
    next = next ? std::min(*next, until) : until;
  return next;
}

void dispatch_table::act(dispatch_action::what is, const std::string& task, const std::string& node, const std::string& reason, std::uint64_t lease) {
  dispatch_action a;
  a.is = is;
  a.task = task;
  a.node = node;
  a.reason = reason;
  a.lease = lease;
  if (const auto* m = members_.find(node))
    a.epoch = m->epoch;
  actions_.push_back(std::move(a));
}

std::vector<dispatch_action> dispatch_table::take_actions() {
  auto all = std::exchange(actions_, {});
  std::erase_if(all, [&](const dispatch_action& a) { return a.is == what::start && !holds(a.task, a.node, a.lease); }); // overtaken
  return all;
}

const worker_task* dispatch_table::find(const std::string& task) const {
  const auto i = tasks_.find(task);
  return i == tasks_.end() ? nullptr : &i->second.what;
}

std::vector<std::string> dispatch_table::tasks() const {
  std::vector<std::string> all;
  for (const auto& [id, e] : tasks_)
    all.push_back(id);
  return all;
}

std::vector<node_view> dispatch_table::nodes(mono_time now) const {
  std::vector<node_view> all;
  node_view own;
  own.node = head_;
  own.state = "alive";
  own.head = true;
  own.draining = leases_.slots().draining(head_);
  all.push_back(own);
  for (const auto& m : members_.members()) {
    node_view v;
    v.node = m.node;
    v.state = std::string{name_of(m.state)};
    v.draining = m.draining;
    v.incarnation = m.incarnation;
    v.epoch = m.epoch;
    v.silent = now - m.heard;
    v.reason = m.reason;
    all.push_back(std::move(v));
  }
  for (auto& v : all)
    for (const auto& [id, s] : leases_.slots().all())
      if (id.node == v.node) {
        ++v.slots;
        v.busy += s.held > 0 ? 1 : 0;
      }
  return all;
}

std::uint64_t dispatch_table::epoch_of(const std::string& node) const {
  const auto* m = members_.find(node);
  return m == nullptr ? 0 : m->epoch;
}

std::vector<std::string> dispatch_table::without_slots() const {
  std::vector<std::string> names;
  for (const auto& node : synced_)
    if (std::ranges::none_of(leases_.slots().all(), [&](const auto& s) { return s.first.node == node; }))
      names.push_back(node);
  return names;
}

std::uint32_t dispatch_table::usable_slots() const {
  std::uint32_t n = 0;
  for (const auto& [id, s] : leases_.slots().all())
    n += s.excluded.empty() && !leases_.slots().draining(id.node) ? 1 : 0;
  return n;
}

} // namespace flywheel
