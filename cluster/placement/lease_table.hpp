#pragma once
// Who may compute where, and until when. A pure machine: told of nodes, requests and the time, it grants gangs their slots
// all-or-nothing, paid in advance, and says of every request that waits what would unblock it.
//
// Nobody holds slots while waiting for more, so no two gangs wait for each other. Larger priorities go first, equal ones in
// the order they asked. One that does not fit does not stop smaller ones behind it, until it has waited for
// `patience`: from then on nobody that could take its slots passes it. It may have running gangs of smaller priority asked to
// stop at their next checkpoint (`preempt`); it gets their slots when they have released them.

#include "cluster/placement/budget_table.hpp"
#include "cluster/placement/slot_table.hpp"

#include <cstdint>

namespace flywheel {

struct gang_lease {
  std::string id, account;
  std::uint64_t epoch = 0;           ///< larger than of all leases before: what an older one still tries is refused (I5)
  std::vector<slot_id> ranks;        ///< rank i computes on ranks[i]
  std::uint32_t share = 100;
  int priority = 0;
  bool preemptible = true;
  mono_time since, until;            ///< after `until` the gang is stopped
  nanoseconds reserved{};            ///< slot time
  std::string yields_to;             ///< the request it was asked to make way for; empty: none
};

struct placement_round {
  std::vector<gang_lease> granted;
  std::vector<gang_lease> preempt;   ///< to be asked to checkpoint and stop; told once each
};

struct lease_rule {
  nanoseconds patience = std::chrono::minutes{2};
};

/// Not thread-safe: one actor owns it.
class lease_table {
public:
  /// `last_epoch`: the largest that was ever given out, from the journal.
  explicit lease_table(const lease_rule& rule = {}, std::uint64_t last_epoch = 0) : rule_(rule), last_epoch_(last_epoch) {}

  status add_node(const std::string& node, std::span<const slot> slots) { return slots_.add_node(node, slots); }
  /// The node is gone: every gang with a rank there loses its lease, on all nodes, and is returned; its slots elsewhere are
  /// free when this returns, so the caller fences them by the leases' epochs first.
  std::vector<gang_lease> remove_node(const std::string& node, mono_time now);
  /// The node is gone, but the ranks of lease `id` on other nodes are still being killed: the lease keeps those slots alone until it is
  /// released. Call before remove_node().
  void forget_slots(const std::string& id, const std::string& node);
  /// Whether it could be granted if nothing else ran and money were no matter.
  bool could_ever_fit(const gang_request& r) const { return slots_.could_ever_fit(r); }
  void set_draining(const std::string& node, bool draining) { slots_.set_draining(node, draining); }
  status exclude(const slot_id& id, const std::string& reason) { return slots_.exclude(id, reason); }
  status include(const slot_id& id) { return slots_.include(id); }
  status open_account(const std::string& name, nanoseconds budget) { return budgets_.open(name, budget); }

  /// Queues a request; place() looks at it. already_exists: one of this id waits or runs. invalid_argument: no ranks, a share
  /// outside 1..100, no time. not_found: the account.
  status ask(const gang_request& r, mono_time now);
  /// Takes back a request that waits. not_found.
  status withdraw(const std::string& id);
  /// Grants what fits and can be paid for.
  placement_round place(mono_time now);
  /// The gang has ended and its processes are gone. stale_epoch: not the lease that holds; nothing changes.
  status release(const std::string& id, std::uint64_t epoch, mono_time now);
  /// Leases whose time is over and that have not been released.
  std::vector<gang_lease> overdue(mono_time now) const;
  /// When something could change without anybody saying anything: a lease ends, or patience does.
  std::optional<mono_time> next_deadline() const;

  const gang_lease* find(const std::string& id) const;
  const std::map<std::string, gang_lease>& leases() const noexcept { return leases_; }
  std::vector<gang_request> waiting() const; ///< in the order they would be granted
  const slot_table& slots() const noexcept { return slots_; }
  const budget_table& budgets() const noexcept { return budgets_; }
  std::uint64_t last_epoch() const noexcept { return last_epoch_; }
  /// For a request that waits: why, and what would unblock it, as sentences. Nothing if it does not wait.
  std::optional<std::string> why_waiting(const std::string& id, mono_time now) const;

private:
  struct queued {
    gang_request what;
    mono_time asked;
    std::uint64_t order = 0;
  };
  static nanoseconds cost_of(const gang_request& r) { return r.time_max * r.ranks * r.share / slot_table::whole; }
  gang_lease grant(const queued& q, std::vector<slot_id> ranks, mono_time now);
  void end(const gang_lease& lease, mono_time now);
  std::vector<std::string> victims_for(const gang_request& r) const;
  bool competes(const gang_request& a, const gang_request& b) const;

  lease_rule rule_;
  std::uint64_t last_epoch_, last_order_ = 0;
  slot_table slots_;
  budget_table budgets_;
  std::map<std::string, gang_lease> leases_;
  std::vector<queued> queue_;          ///< by priority, then order
};

} // namespace flywheel
