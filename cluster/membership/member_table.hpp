#pragma once
// Who belongs to the cluster, as its head sees it. A pure machine: it is told what arrived and what time it is, and says
// what changed and why. Its twin on the other side is lease_watch.hpp.
//
//   hello -> alive -> suspect -> dead            alive again from suspect; from dead only with a newer incarnation
//
// A node process draws a larger incarnation each time it starts. Each admission of a new one gets a fencing epoch larger
// than all before, whatever node it is: what an older epoch still tries is refused (I5).

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace flywheel {

enum class member_state : std::uint8_t { alive, suspect, dead, left };
std::string_view name_of(member_state s) noexcept;

struct membership_rule {
  nanoseconds suspect_after = std::chrono::milliseconds{1500}; ///< of silence
  nanoseconds dead_after = std::chrono::seconds{3};            ///< of silence; more than suspect_after
  nanoseconds forget_after = std::chrono::minutes{10};         ///< the dead are shown that long
  std::uint32_t protocol = 1;                                  ///< others are refused
};

struct member {
  std::string node;
  std::uint64_t incarnation = 0;
  std::uint64_t epoch = 0;           ///< fencing epoch of this incarnation
  member_state state = member_state::alive;
  bool draining = false;             ///< gets no new work
  mono_time heard;                   ///< when it last spoke; of the dead: when it was declared dead
  std::string reason;                ///< why it is in this state
};

struct membership_change {
  std::string node;
  std::uint64_t incarnation = 0, epoch = 0;
  member_state from = member_state::left, to = member_state::alive; ///< a new member comes from left
  std::string reason;                ///< a sentence's part: "silent for 3.2 s"
};

struct hello_message {
  std::string node;
  std::uint64_t incarnation = 0;
  std::uint32_t protocol = 1;
};

/// Not thread-safe: one actor owns it. Times never go back; a time before the last one told counts as that one.
class member_table {
public:
  /// `last_epoch`: the largest epoch that was ever given out, from the journal.
  explicit member_table(const membership_rule& rule, std::uint64_t last_epoch = 0);

  /// Admits a new incarnation (whose older one is then dead) or greets a known one again, with its epoch as it was.
  /// stale_epoch: this incarnation was replaced, declared dead or has left; it must start anew. incompatible_version:
  /// another protocol. invalid_argument: no name, or incarnation 0. Changes are appended to `changes`, oldest first.
  result<std::uint64_t> hello(const hello_message& from, mono_time now, std::vector<membership_change>& changes);
  /// After a start of the head: a member the journal knows. It is suspect, and has dead_after from now to speak.
  void restore(const std::string& node, std::uint64_t incarnation, std::uint64_t epoch, bool draining, mono_time now);

  /// One that the journal knows to have gone (dead or left): that incarnation stays refused.
  void restore_gone(const std::string& node, std::uint64_t incarnation, std::uint64_t epoch);

  /// stale_epoch: not a living incarnation; the sender must stop its work.
  status heartbeat(const std::string& node, std::uint64_t incarnation, mono_time now, std::vector<membership_change>& changes);
  /// Its connection closed. It is suspect at once, and dead if it does not come back in time.
  void disconnected(const std::string& node, std::uint64_t incarnation, mono_time now, std::vector<membership_change>& changes);
  /// Gets no new work from now on. not_found, or stale_epoch if it is dead.
  status drain(const std::string& node);
  /// A goodbye: the node has ended its work and goes.
  status leave(const std::string& node, std::uint64_t incarnation, mono_time now, std::vector<membership_change>& changes);
  /// Declares the silent suspect and dead, and forgets the long dead.
  void tick(mono_time now, std::vector<membership_change>& changes);
  /// When tick() would next change something, if nobody speaks; nothing if never.
  std::optional<mono_time> next_tick() const;

  const member* find(const std::string& node) const;
  /// By name.
  std::vector<member> members() const;
  /// Whether work may be given to it: alive and not draining.
  bool may_work(const std::string& node) const;
  std::uint64_t last_epoch() const noexcept { return last_epoch_; }

private:
  mono_time forward(mono_time now);
  void change(member& m, member_state to, std::string reason, std::vector<membership_change>& changes);
  result<member*> living(const std::string& node, std::uint64_t incarnation);

  membership_rule rule_;
  std::uint64_t last_epoch_;
  mono_time now_;
  std::map<std::string, member> members_;
  std::set<std::pair<std::string, std::uint64_t>> gone_; ///< incarnations that are not let in any more; never forgotten
};

} // namespace flywheel
