#pragma once
// Connections between gates: delays, the order kept, cuts, silence in one direction.

#include "tests/simulation/simulated_machine.hpp"

#include <deque>

namespace flywheel::simulation {

/// A connection: a port on each side, frames under way between them.
struct wire {
  machine* ends[2]{};              ///< 0: the dialler
  caf::actor ports[2];
  bool open = true;
  struct frame { mono_time due; std::string bytes; };
  std::deque<frame> under_way[2];  ///< to that end
  bool stalled[2]{};
  mono_time last_due[2];
};

class simulated_network {
public:
  explicit simulated_network(stage& s) : stage_(&s) {}
  /// Between the gates of two machines; `from` has dialled.
  std::shared_ptr<wire> connect(machine& from, machine& to);
  /// Both sides hear of it; what is under way is lost.
  void close(wire& w);
  /// Delivers what is due to that end, unless it is frozen, dead, or nothing arrives there.
  void pump(const std::shared_ptr<wire>& w, int to);
  const std::vector<std::shared_ptr<wire>>& wires() const noexcept { return wires_; }

private:
  void transmit(const std::shared_ptr<wire>& w, int from, const std::string& bytes);
  /// What stands for the peer's gate on one side.
  caf::actor make_port(const std::shared_ptr<wire>& w, int side);

  stage* stage_;
  std::vector<std::shared_ptr<wire>> wires_;
};

} // namespace flywheel::simulation
