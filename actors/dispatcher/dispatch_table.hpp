#pragma once
// Which task runs on which node. A pure machine: told of nodes, tasks and the time, it says what is to be done. It joins two others:
// who is there (cluster/membership) and who may compute where (cluster/placement).
//
//   submit -> waits -> leased -> confirmed (the node has it) -> ended
//                        ^------------- its node was lost ----'
//
// A task belongs to a node under a lease whose epoch only grows. The end that a node reports counts only under the lease that holds: a
// node that was given up and wakes up ends nothing (I5, I15). A node that was lost has stopped by then (lease_watch.hpp).

#include "actors/dispatcher/gang_table.hpp"
#include "cluster/membership/member_table.hpp"
#include "cluster/placement/lease_table.hpp"
#include "cluster/worker/worker_pool.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace flywheel {

struct dispatch_rule {
  membership_rule membership;
  lease_rule leases;
  std::uint32_t moves_max = 3;                       ///< lost nodes after which a task is taken to be their end
  nanoseconds task_time_max = std::chrono::hours{24 * 7}; ///< of a task that has no limit of its own
  nanoseconds hold_back = std::chrono::seconds{30};  ///< a node that handed a task back gets no other for so long
};

struct dispatch_action {
  enum class what : std::uint8_t {
    start,   ///< give `task` to `node` under `lease`; it is meant for the incarnation of `epoch` alone
    stop,    ///< have `node` end `task` of `lease`, if it runs there
    end,     ///< tell whoever ordered `task` that it ended with `problem`
    member,  ///< `change` happened: record it
    moved,   ///< `task` lost its node and waits again, for `reason`: record it
  } is = what::start;
  std::string task, node, reason;
  std::uint64_t lease = 0, epoch = 0;
  std::uint32_t attempt = 0;         ///< end: which of the task's; whoever ordered it takes the end of no other
  error problem{errc::ok, {}};
  membership_change change{};
};

/// A task that a node says it has: running, or ended and not yet told.
struct held_task {
  std::string task;
  std::uint64_t lease = 0;
};

/// For people.
struct node_view {
  std::string node;
  std::string state;                 ///< "alive", "suspect", "dead", "left"
  bool head = false, draining = false;
  std::uint64_t incarnation = 0, epoch = 0;
  std::uint32_t slots = 0, busy = 0;
  nanoseconds silent{};
  std::string reason;
};

/// Not thread-safe: one actor owns it. Every call may leave actions; take them in order.
class dispatch_table {
public:
  /// `last_epoch`: the largest fencing epoch of a member and of a lease ever given out, from the journal.
  dispatch_table(dispatch_rule rule, std::string head, std::uint64_t last_epoch, std::uint64_t last_lease);

  /// The head's own slots; always there.
  status add_own_slots(std::span<const slot> slots);

  // ---- nodes
  /// Errors and epoch as of member_table::hello. The node gets nothing before sync().
  result<std::uint64_t> join(const hello_message& from, mono_time now);
  /// A member the journal knows of, after a start of the head. It may still work under a lease of the head's last life: nothing is placed
  /// anywhere before it has come back (and ended that) or is given up, which takes dead_after at most.
  void restore(const std::string& node, std::uint64_t incarnation, std::uint64_t epoch, bool draining, mono_time now);
  /// As of member_table.
  void restore_gone(const std::string& node, std::uint64_t incarnation, std::uint64_t epoch);
  /// What the node has to offer and what it holds of us, first thing on each connection. Held tasks that are not its own under that
  /// lease are stopped; tasks of its that it does not hold are started again, or move.
  status sync(const std::string& node, std::uint64_t incarnation, std::span<const slot> slots, std::span<const held_task> held, mono_time now,
              const std::map<std::string, std::uint64_t>& held_gangs = {});
  status heartbeat(const std::string& node, std::uint64_t incarnation, mono_time now);
  void disconnected(const std::string& node, std::uint64_t incarnation, mono_time now);
  status leave(const std::string& node, std::uint64_t incarnation, mono_time now);
  /// The head's own name drains its slots.
  status drain(const std::string& node);

  // ---- tasks
  /// already_exists: one of this id is not over.
  status submit(const std::string& account, worker_task t, mono_time now);
  void cancel(const std::string& task, const std::string& reason, mono_time now);
  /// The node has taken the task.
  void confirmed(const std::string& task, std::uint64_t lease);
  /// The node would not take it.
  void refused(const std::string& task, std::uint64_t lease, const error& why, mono_time now);
  /// The node reports its end. True: it counts, tell it on. False: not under the lease that holds, or it made way and runs again later; the
  /// node may forget it. `was_stopped`: it ended because it was told to.
  bool ended(const std::string& task, std::uint64_t lease, mono_time now, bool was_stopped = false);
  /// The node cannot run it, for a reason of its own (a full disk, no way to the files): it waits again, and counts as moved. The node gets
  /// nothing new for rule.hold_back: otherwise it would soon have taken, and handed back, all there is. False as ended().
  bool handed_back(const std::string& task, const std::string& node, std::uint64_t lease, const std::string& why, mono_time now);
  /// Whether `task` runs on `node` under `lease`.
  bool holds(const std::string& task, const std::string& node, std::uint64_t lease) const;

  // ---- gangs: they share the slots with the tasks. What is asked of `gangs` may free or want slots, which are then given out.
  template <class F> auto with_gangs(mono_time now, F&& ask) {
    struct giving_out {
      dispatch_table& table;
      mono_time now;
      ~giving_out() { table.place(now); }
    } after{*this, now};
    return ask(gangs_, leases_);
  }
  const gang_table& gangs() const noexcept { return gangs_; }
  std::vector<gang_action> take_gang_actions() { return gangs_.take_actions(); }
  /// The fencing epoch of a member; 0: none.
  std::uint64_t epoch_of(const std::string& node) const;
  /// Nodes that are members and offer no slot: their name, for whoever asks why something waits.
  std::vector<std::string> without_slots() const;
  /// Whether nodes of the head's last life are still waited for.
  bool is_resolving() const noexcept { return !unresolved_.empty(); }

  void tick(mono_time now);
  std::optional<mono_time> next_tick() const;
  std::vector<dispatch_action> take_actions();

  /// Nothing if it is over.
  const worker_task* find(const std::string& task) const;
  std::vector<std::string> tasks() const;
  std::vector<node_view> nodes(mono_time now) const;
  /// Slots that work may be given to now.
  std::uint32_t usable_slots() const;
  std::optional<std::string> why_waiting(const std::string& task, mono_time now) const { return leases_.why_waiting(task, now); }
  const lease_table& leases() const noexcept { return leases_; }

private:
  struct entry {
    worker_task what;
    std::string account;
    std::string node;                ///< empty: waits
    std::uint64_t lease = 0;
    bool confirmed = false, cancelled = false, makes_way = false;
    std::uint32_t moves = 0;
  };
  status queue(const std::string& id, entry& e, mono_time now);
  void place(mono_time now);
  void end(const std::string& task, error problem, mono_time now);
  void take_changes(std::vector<membership_change>& changes, mono_time now);
  void lose_node(const std::string& node, const std::string& reason, mono_time now);
  void requeue(const std::string& task, const std::string& reason, mono_time now);
  void update(const std::string& node);
  void act(dispatch_action::what is, const std::string& task, const std::string& node, const std::string& reason = {}, std::uint64_t lease = 0);

  dispatch_rule rule_;
  std::string head_;
  member_table members_;
  lease_table leases_;
  gang_table gangs_;
  std::map<std::string, entry> tasks_;
  std::set<std::string> synced_;     ///< nodes whose slots are in the table and whose connection has told what it holds
  std::set<std::string> with_slots_;
  std::set<std::string> told_overdue_;
  std::map<std::string, mono_time> held_back_; ///< node -> until when
  std::set<std::string> unresolved_; ///< restored, and neither back nor given up
  std::vector<dispatch_action> actions_;
};

} // namespace flywheel
