#pragma once
// Gangs over many nodes: which attempt of which gang lives where. A pure machine beside dispatch_table, which owns the slots and asks it:
// told of grants, of what is seen on the nodes, and of the time, it says what is to be done. It judges with gang_policy and restart_policy.
//
//   ordered -> queued -> preparing -> up -> (clearing) -> done | gave up | cancelled
//                ^         (fence)            |
//                '----- resting <-------------'   the next attempt, on slots of a new lease
//
// Nobody holds slots while it waits. The lease of an attempt is given back only when every host is cleared, or gone: then its ranks have
// ended by themselves (lease_watch.hpp). An attempt's number is taken from the checkpoint folder between the grant and the start of its
// ranks, so that of two attempts that live only the newer can publish.

#include "cluster/gang/gang_policy.hpp"
#include "cluster/gang/restart_policy.hpp"
#include "cluster/placement/lease_table.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace flywheel {

/// What a person ordered. Written to the journal as it is: no secrets belong into it.
struct gang_order {
  std::string id, user;
  std::vector<std::string> command;
  std::vector<std::string> environment; ///< NAME=VALUE, beside that of the nodes
  std::string folder;                   ///< to start in
  std::string checkpoints;              ///< absolute; empty: nothing is fenced
  std::uint32_t ranks = 1;
  slot_kind kind = slot_kind::cpu;
  std::uint64_t memory_max = 0;         ///< of a rank; 0: unlimited
  int priority = 0;
  std::uint32_t restarts_max = 3;
  nanoseconds time_max = std::chrono::hours{24 * 7};   ///< of all its attempts together, paid in advance
  nanoseconds stop_grace = std::chrono::seconds{10};   ///< between SIGTERM and SIGKILL when it is asked to stop
  std::optional<nanoseconds> step_max, start_max;      ///< as --step-timeout and --start-timeout of flywheel launch; 0: never
  bool operator==(const gang_order&) const = default;
};
/// invalid_argument: what of it cannot be.
status check(const gang_order& o);

/// What the journal says of a gang that was not over when the head ended.
struct gang_memory {
  gang_order order;
  std::uint64_t attempt = 0;            ///< the last that began
  std::uint32_t restarts = 0;
  nanoseconds used{};
  std::set<slot_id> avoid;
};

/// Something for the journal and for people.
struct gang_news {
  enum class kind : std::uint8_t {
    leased,    ///< `places`
    started,   ///< attempt; durable before the ranks start
    straggler, ///< `text`: who is slow, or that nobody is any more
    garbled,   ///< a rank's board holds nonsense
    stuck,     ///< processes survive SIGKILL on `text`: its slots are not free
    failed,    ///< the attempt ended with `cause`; all is cleared; `restart`, and why (not)
    yielded,   ///< it made way, or its lease was not used; it waits again
    done, gave_up, cancelled,
  } what = kind::leased;
  std::uint64_t attempt = 0;
  std::uint32_t restarts = 0;
  std::string text;                     ///< one sentence
  std::string reason;                   ///< of failed: why it is started again, or not
  gang_cause cause;
  bool restart = false;
  nanoseconds after{}, used{};
  std::vector<slot_id> places;
  std::set<slot_id> avoid;
  std::uint64_t steps = 0;
  std::optional<double> loss;
};
std::string_view name_of(gang_news::kind k) noexcept;

struct gang_action {
  enum class what : std::uint8_t {
    prepare,  ///< take the next attempt, find a port on the node of rank 0, make a folder to meet in; then prepared()
    start,    ///< have `node` start its ranks
    signal,   ///< send `number` to the ranks on `node`; 9 kills everything, and host_cleared is expected
    clean,    ///< the folder of the attempt is not needed any more
    tell,     ///< `news`
  } is = what::prepare;
  std::string gang, node;
  std::uint64_t lease = 0, attempt = 0;
  int number = 0;
  gang_news news{};
};

/// Everything a node needs to know of an attempt.
struct gang_attempt {
  gang_order order;
  std::uint64_t attempt = 0, lease = 0;
  std::uint32_t restart = 0;
  std::vector<rank_seat> seats;         ///< by rank; `host` is the node
  std::vector<int> gpus;                ///< by rank: the device's number, or -1
  std::vector<std::string> addresses;   ///< by rank: of its node
  int master_port = 0;
  std::string rendezvous, logs;
};

/// For people.
struct gang_view {
  std::string id, user, state, text;    ///< `text`: what it does, or why it waits
  std::uint32_t ranks = 0, restarts = 0;
  int priority = 0;
  std::uint64_t attempt = 0, steps = 0;
  std::vector<std::string> nodes;
};

class gang_table {
public:
  static constexpr std::uint32_t avoid_after = 2; ///< failures on one slot

  // The lease table is the dispatcher's; every call may change it and leave actions.
  /// already_exists: another gang of this name is not over. The same order again is fine.
  status submit(const gang_order& o, lease_table& leases, mono_time now);
  status resume(const gang_memory& m, lease_table& leases, mono_time now);
  bool has(const std::string& id) const { return gangs_.contains(id); }
  /// not_found.
  status cancel(const std::string& id, const std::string& why, lease_table& leases, mono_time now);

  void granted(const gang_lease& lease, mono_time now);
  /// Asked to stop at its next checkpoint for `whom`, which waits for its slots.
  void yield_to(const std::string& id, const std::string& whom, mono_time now);
  /// The lease's time is over.
  void overdue(const gang_lease& lease, mono_time now);
  /// False: nobody waits for that any more; what was made can be thrown away.
  bool prepared(const std::string& id, std::uint64_t lease, std::uint64_t attempt, int master_port, const std::string& rendezvous,
                std::vector<std::string> addresses, mono_time now);
  /// `taken`: the attempt that was taken before it failed; 0: none.
  void prepare_failed(const std::string& id, std::uint64_t lease, std::uint64_t taken, const error& why, lease_table& leases, mono_time now);

  /// What `node` saw of its own ranks; anything else in it is ignored. False: the lease does not hold, and whatever runs under it there
  /// must be killed.
  bool observe(const std::string& id, const std::string& node, std::uint64_t lease, std::span<const gang_observation> seen,
               lease_table& leases, mono_time now);
  /// The node knows nothing of that lease.
  void unknown_there(const std::string& id, const std::string& node, std::uint64_t lease, lease_table& leases, mono_time now);
  /// The node would not start its ranks.
  void refused(const std::string& id, const std::string& node, std::uint64_t lease, const error& why, lease_table& leases, mono_time now);
  void confirmed(const std::string& id, const std::string& node, std::uint64_t lease);
  /// The node is gone with its ranks: its slots too, when this returns.
  void lose_node(const std::string& node, const std::string& reason, lease_table& leases, mono_time now);
  /// Its connection broke, or it is silent; until it is heard again or lost nobody is called hung, and no rank is blamed for what its
  /// peers say: if it is lost, that is the cause.
  void disconnected(const std::string& node);
  void heard(const std::string& node, mono_time now);
  /// It is back, and says which gangs it has: starts and kills are told again, what it should have and has not is lost.
  void synced(const std::string& node, const std::map<std::string, std::uint64_t>& held, lease_table& leases, mono_time now);

  void tick(lease_table& leases, mono_time now);
  std::optional<mono_time> next_tick() const;
  std::vector<gang_action> take_actions() { return std::exchange(actions_, {}); }

  /// Nothing if that is not the lease under which it is up.
  std::optional<gang_attempt> attempt_of(const std::string& id, std::uint64_t lease) const;
  const gang_order* order_of(const std::string& id) const;
  /// The attempt before the next one; without a value where nobody can know what was taken (the first, or after a start of the head).
  std::optional<std::uint64_t> taken_before(const std::string& id) const;
  std::uint64_t last_attempt(const std::string& id) const;
  std::vector<gang_view> views(const lease_table& leases, mono_time now) const;

private:
  enum class phase : std::uint8_t { queued, preparing, up, resting };
  struct host {
    bool confirmed = false, cleared = false, is_away = false;
  };
  struct entry {
    gang_order order;
    phase now = phase::queued;
    std::uint64_t lease = 0, attempt = 0;
    std::optional<std::uint64_t> taken; ///< of the checkpoint folder, by us
    std::uint32_t restarts_before = 0;  ///< in former lives of the head
    nanoseconds used{};
    std::set<slot_id> avoid;
    std::map<slot_id, std::uint32_t> failures;
    restart_policy restarts{{}};
    std::vector<slot_id> places;        ///< by rank
    std::vector<std::string> addresses;
    int master_port = 0;
    std::string rendezvous;
    std::map<std::string, host> hosts;
    std::optional<gang_policy> policy;
    mono_time since, turned, rest_until, slow_silent_until;
    std::optional<mono_time> kill_at, killed;
    bool kill_sent = false, stuck_told = false;
    enum class stop : std::uint8_t { none, cancelled, yields, time_over } stopping = stop::none;
    std::string stop_reason, slow, last_word;
    std::uint32_t restarts_so_far() const { return restarts_before + restarts.restarts(); }
  };
  using table = std::map<std::string, entry>;

  entry* of(const std::string& id, std::uint64_t lease);
  void admit(entry e, lease_table& leases, mono_time now);
  void queue(entry& e, lease_table& leases, mono_time now);
  void stop(entry& e, entry::stop how, std::string why, mono_time now);
  /// Looks at one gang; may end it: `e` is not used afterwards.
  void pump(const std::string& id, lease_table& leases, mono_time now);
  void finish_attempt(entry& e, lease_table& leases, mono_time now);
  void give_back(entry& e, lease_table& leases, mono_time now);
  void end(entry& e, gang_news::kind how, std::string text, gang_cause cause);
  void tell_straggler(entry& e, mono_time now);
  void act(const entry& e, gang_action::what is, const std::string& node = {}, int number = 0);
  gang_news& tell(entry& e, gang_news::kind what, std::string text);
  nanoseconds used_by(const entry& e, mono_time now) const { return e.lease != 0 ? e.used + (now - e.since) : e.used; }

  table gangs_;
  std::vector<gang_action> actions_;
};

/// "cpu0" as people read it: "cpu 0".
std::string slot_text(const std::string& name);

} // namespace flywheel
