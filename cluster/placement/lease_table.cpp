#include "cluster/placement/lease_table.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <limits>

namespace flywheel {

namespace {

std::string wish_of(const gang_request& r) {
  std::string text = std::to_string(r.ranks) + " " + name_of(r.kind) + (r.ranks == 1 ? " slot" : " slots");
  if (r.share != slot_table::whole)
    text = std::to_string(r.share) + " % of each of " + text;
  if (r.memory_min > 0)
    text += " with at least " + format_bytes(r.memory_min);
  return text;
}

} // namespace

status lease_table::ask(const gang_request& r, mono_time now) {
  const bool payable = r.ranks > 0 && r.time_max.count() > 0 && r.time_max.count() <= std::numeric_limits<std::int64_t>::max() / slot_table::whole / r.ranks;
  if (r.id.empty() || !payable || r.share == 0 || r.share > slot_table::whole)
    return error{errc::invalid_argument, "a gang has a name, at least one rank, 1 to 100 % of a slot each, and a time it may take", r.id};
  const bool waits = std::ranges::any_of(queue_, [&](const queued& q) { return q.what.id == r.id; });
  if (waits || leases_.contains(r.id))
    return error{errc::already_exists, waits ? "it waits already" : "it runs already", r.id};
  if (budgets_.find(r.account) == nullptr)
    return error{errc::not_found, "its account has no budget", r.account, "open the goal's account first"};
  const queued q{r, now, ++last_order_};
  queue_.insert(std::ranges::upper_bound(queue_, q, [](const queued& a, const queued& b) { return a.what.priority > b.what.priority; }), q);
  return {};
}

status lease_table::withdraw(const std::string& id) {
  if (std::erase_if(queue_, [&](const queued& q) { return q.what.id == id; }) == 0)
    return error{errc::not_found, "no request of this name waits", id};
  for (auto& [name, lease] : leases_)
    if (lease.yields_to == id)
      lease.yields_to.clear(); // it stops all the same if it was told; another may ask it anew
  return {};
}

gang_lease lease_table::grant(const queued& q, std::vector<slot_id> ranks, mono_time now) {
  for (const auto& id : ranks)
    slots_.hold(id, q.what.share);
  gang_lease lease{q.what.id, q.what.account, ++last_epoch_, std::move(ranks), q.what.share, q.what.priority, q.what.preemptible, now,
                   now + q.what.time_max, cost_of(q.what), {}};
  leases_.emplace(lease.id, lease);
  for (auto& [id, other] : leases_)
    if (other.yields_to == lease.id)
      other.yields_to.clear();
  return lease;
}

/// Whether granting `b` could take what `a` waits for.
bool lease_table::competes(const gang_request& a, const gang_request& b) const {
  return std::ranges::any_of(slots_.all(), [&](const auto& s) { return slots_.suits(s.second, a) && slots_.suits(s.second, b); });
}

placement_round lease_table::place(mono_time now) {
  placement_round round;
  std::vector<const queued*> impatient; // those nobody may pass any more
  std::vector<std::string> granted;
  bool somebody_is_served = false;      // one request at a time has others make way
  for (const auto& [name, lease] : leases_)
    somebody_is_served = somebody_is_served || !lease.yields_to.empty();
  for (const auto& q : queue_) {
    if (std::ranges::any_of(impatient, [&](const queued* first) { return competes(first->what, q.what); }))
      continue;
    const auto* money = budgets_.find(q.what.account);
    if (cost_of(q.what) > money->left() || !slots_.could_ever_fit(q.what))
      continue; // slots would not help: it stops nobody
    if (auto ranks = slots_.fit(q.what)) {
      const auto paid = budgets_.reserve(q.what.account, cost_of(q.what));
      FLYWHEEL_ASSERT(paid.ok(), "what is left was looked at");
      round.granted.push_back(grant(q, std::move(*ranks), now));
      granted.push_back(q.what.id);
      continue;
    }
    const bool served = std::ranges::any_of(leases_, [&](const auto& l) { return l.second.yields_to == q.what.id; });
    if (served || now - q.asked >= rule_.patience)
      impatient.push_back(&q); // what others release is for it, and not for those behind it
    if (somebody_is_served)
      continue;
    for (const auto& id : victims_for(q.what)) {
      auto& lease = leases_.at(id);
      lease.yields_to = q.what.id;
      round.preempt.push_back(lease);
      somebody_is_served = true;
    }
    if (somebody_is_served && std::ranges::find(impatient, &q) == impatient.end())
      impatient.push_back(&q);
  }
  std::erase_if(queue_, [&](const queued& q) { return std::ranges::find(granted, q.what.id) != granted.end(); });
  return round;
}

/// The fewest leases of smaller priority whose end would let `r` in: the least important, then the youngest, which lose least.
/// Nothing if even all of them would not do.
std::vector<std::string> lease_table::victims_for(const gang_request& r) const {
  std::vector<const gang_lease*> lesser;
  for (const auto& [id, lease] : leases_)
    if (lease.preemptible && lease.priority < r.priority && lease.yields_to.empty())
      lesser.push_back(&lease);
  std::ranges::stable_sort(lesser, [](const gang_lease* a, const gang_lease* b) {
    return a->priority != b->priority ? a->priority < b->priority : a->since > b->since;
  });
  std::map<slot_id, std::uint32_t> freed;
  std::vector<const gang_lease*> taken;
  const auto give = [&](const gang_lease& lease) {
    for (const auto& id : lease.ranks)
      freed[id] += lease.share;
  };
  const auto take_back = [&](const gang_lease& lease) {
    for (const auto& id : lease.ranks)
      freed[id] -= lease.share;
  };
  for (const auto* lease : lesser) {
    give(*lease);
    taken.push_back(lease);
    if (slots_.fit(r, freed))
      break;
  }
  if (!slots_.fit(r, freed))
    return {};
  for (auto i = taken.size(); i-- > 0;) { // whoever turned out not to be needed goes on; the last looked at is needed
    take_back(*taken[i]);
    if (slots_.fit(r, freed))
      taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(i));
    else
      give(*taken[i]);
  }
  std::vector<std::string> ids;
  for (const auto* lease : taken)
    ids.push_back(lease->id);
  return ids;
}

void lease_table::end(const gang_lease& lease, mono_time now) {
  for (const auto& id : lease.ranks)
    slots_.release(id, lease.share);
  const auto used = (now - lease.since) * static_cast<std::int64_t>(lease.ranks.size()) * lease.share / slot_table::whole;
  budgets_.settle(lease.account, lease.reserved, used);
}

status lease_table::release(const std::string& id, std::uint64_t epoch, mono_time now) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.epoch != epoch)
    return error{errc::stale_epoch, "lease " + std::to_string(epoch) + " of it does not hold" +
                                        (found == leases_.end() ? std::string{} : "; " + std::to_string(found->second.epoch) + " does"), id};
  end(found->second, now);
  leases_.erase(found);
  return {};
}

std::vector<gang_lease> lease_table::remove_node(const std::string& node, mono_time now) {
  std::vector<gang_lease> lost;
  for (auto i = leases_.begin(); i != leases_.end();) {
    if (std::ranges::any_of(i->second.ranks, [&](const slot_id& s) { return s.node == node; })) {
      end(i->second, now);
      lost.push_back(i->second);
      i = leases_.erase(i);
    } else {
      ++i;
    }
  }
  slots_.remove_node(node);
  return lost;
}

void lease_table::forget_slots(const std::string& id, const std::string& node) {
  const auto found = leases_.find(id);
  if (found == leases_.end())
    return;
  std::erase_if(found->second.ranks, [&](const slot_id& s) {
    if (s.node != node)
      return false;
    slots_.release(s, found->second.share);
    return true;
  });
}

std::vector<gang_lease> lease_table::overdue(mono_time now) const {
  std::vector<gang_lease> all;
  for (const auto& [id, lease] : leases_)
    if (now >= lease.until)
      all.push_back(lease);
  return all;
}

std::optional<mono_time> lease_table::next_deadline() const {
  std::optional<mono_time> next;
  const auto sooner = [&](mono_time t) { next = next ? std::min(*next, t) : t; };
  for (const auto& [id, lease] : leases_)
    sooner(lease.until);
  for (const auto& q : queue_)
    sooner(q.asked + rule_.patience);
  return next;
}

const gang_lease* lease_table::find(const std::string& id) const {
  const auto found = leases_.find(id);
  return found == leases_.end() ? nullptr : &found->second;
}

std::vector<gang_request> lease_table::waiting() const {
  std::vector<gang_request> all;
  for (const auto& q : queue_)
    all.push_back(q.what);
  return all;
}

std::optional<std::string> lease_table::why_waiting(const std::string& id, mono_time now) const {
  const auto found = std::ranges::find_if(queue_, [&](const queued& q) { return q.what.id == id; });
  if (found == queue_.end())
    return std::nullopt;
  const gang_request& r = found->what;
  std::string text = "waits since " + format_duration(now - found->asked) + " for " + wish_of(r) + ". ";
  if (const auto* money = budgets_.find(r.account); cost_of(r) > money->left())
    return text + "It costs " + format_duration(cost_of(r)) + " of slot time, and " + format_duration(money->left()) + " of the budget of " + r.account +
           " are left" + (money->reserved.count() > 0 ? " (" + format_duration(money->reserved) + " are reserved by what runs)" : "") +
           ": a larger budget would unblock it.";
  std::size_t of_kind = 0, small = 0, excluded = 0, elsewhere = 0, avoided = 0, draining = 0, suited = 0, free = 0;
  std::string example;
  for (const auto& [slot, e] : slots_.all()) {
    if (e.what.kind != r.kind)
      continue;
    ++of_kind;
    if (e.what.memory < r.memory_min)
      ++small;
    else if (!e.excluded.empty())
      ++excluded, example = slot.text() + " (" + e.excluded + ")";
    else if (r.needs_files && !e.what.shares_files)
      ++elsewhere;
    else if (r.avoid.contains(slot))
      ++avoided;
    else if (slots_.draining(slot.node))
      ++draining;
    else
      ++suited, free += slot_table::whole - e.held >= r.share ? 1 : 0;
  }
  text += "Of " + std::to_string(of_kind) + " " + name_of(r.kind) + " slots " + std::to_string(suited) + " suit it and " + std::to_string(free) + " of these are free";
  if (small > 0)
    text += "; " + std::to_string(small) + " have too little memory";
  if (excluded > 0)
    text += "; " + std::to_string(excluded) + " are excluded, as " + example;
  if (elsewhere > 0)
    text += "; " + std::to_string(elsewhere) + " are on nodes that do not see the head's files, which its ranks need";
  if (avoided > 0)
    text += "; " + std::to_string(avoided) + " are avoided, because it failed there again and again";
  if (draining > 0)
    text += "; " + std::to_string(draining) + " are on draining nodes";
  text += ". ";
  if (suited < r.ranks)
    return text + "It cannot run here: " + std::to_string(r.ranks - suited) + " more such slots (a node that joins" +
           (excluded > 0 ? ", an excluded slot taken back in" : "") + (small > 0 ? ", a smaller memory_min" : "") + ") would unblock it.";
  std::string makes_way;
  mono_time soonest{std::numeric_limits<std::int64_t>::max()};
  std::string ends;
  for (const auto& [name, lease] : leases_) {
    if (lease.yields_to == id)
      makes_way += (makes_way.empty() ? "" : ", ") + name;
    if (lease.until < soonest)
      soonest = lease.until, ends = name;
  }
  if (!makes_way.empty())
    return text + makes_way + " will make way at the next checkpoint.";
  for (const auto& q : queue_) {
    if (q.what.id == id)
      break;
    if (competes(q.what, r) && !slots_.fit(q.what) && now - q.asked >= rule_.patience)
      return text + q.what.id + " waits in front of it and may not be passed any more.";
  }
  if (!ends.empty())
    text += ends + " must end in " + format_duration(std::max(nanoseconds{}, soonest - now)) + " at the latest; ";
  return text + "a larger priority, or slots that others release, would unblock it.";
}

} // namespace flywheel
