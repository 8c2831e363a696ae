#pragma once
// A node's side of membership: whether it may still believe that what the head leased to it is its own. The head gives
// leases on once it has declared a node dead; so the node must have stopped before that, also when it hears nothing.
//
// The head counts silence from when a heartbeat arrived, which is not before it was sent. The node counts from when it
// sent the last heartbeat that the head answered. With clocks that run equally fast to within `drift`, a node that stops at
// (1 - drift) * dead_after - margin after that sending stops before the head declares it dead (Gray, Cheriton, "Leases",
// SOSP 1989).

#include "cluster/base/clock.hpp"

#include <cstdint>
#include <map>
#include <optional>

namespace flywheel {

struct lease_watch_rule {
  nanoseconds dead_after = std::chrono::seconds{3};        ///< the head's membership_rule::dead_after
  nanoseconds margin = std::chrono::milliseconds{300};     ///< for stopping the work
  double drift = 0.001;                                    ///< of the clocks against each other, as a fraction
};

/// A pure machine, told the time. Not thread-safe.
class lease_watch {
public:
  /// `admitted`: when the hello was sent that the head answered.
  lease_watch(const lease_watch_rule& rule, mono_time admitted);

  /// A heartbeat leaves; numbers increase.
  void sent(std::uint64_t number, mono_time now);
  /// The head answered heartbeat `number`, and so all before it. Unknown and old numbers are ignored.
  void answered(std::uint64_t number);
  /// The head said that this incarnation is no longer a member.
  void refused() { refused_ = true; }

  /// When the work must have been stopped, unless the head answers before.
  mono_time deadline() const;
  /// Whether the leases still hold at `now`. Once false, false for ever.
  bool holds(mono_time now);

private:
  lease_watch_rule rule_;
  mono_time confirmed_;                          ///< sending of the last heartbeat that was answered
  std::map<std::uint64_t, mono_time> unanswered_;
  bool refused_ = false;
};

} // namespace flywheel
