#pragma once
// A whole Flywheel in one process, all of it real but for the world around it: every agent, the supervisor, gates with real certificates,
// dispatcher and task hosts, agents placed on other nodes, on CAF's testing scheduler; one actor system a node, on a virtual clock. Simulated
// are the network between the gates, the disk under the journal, the workers, and the servers and customers of a rollout. One seed decides who
// runs when, what breaks, and when goals are submitted.
//
// Dead nodes are never run again, and never taken apart: a history belongs in a process of its own (in_a_process_of_its_own).

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace flywheel::simulation {

/// Deliberate defects of what surrounds the agents, to show that the checks find them.
enum class flaw : std::uint8_t {
  none,
  disk_lies,               ///< appends are acknowledged before they are durable
  workers_outlive_lease,   ///< a worker does not look at its node's lease, and outlives its pool
  epoch_stands_still,      ///< a head that starts again has the epoch of the one before
  incarnation_stands_still, ///< a node that lost its lease, or its life, comes back as if nothing had been
  clock_runs_slow,         ///< on nodes, by half: they believe in a lease that the head has given up
  outcomes_forgotten,      ///< nobody finds in the journal that an effect was done
};

struct history_rules {
  int members = 2;
  int goals = 2;
  int faults = 14;              ///< of all kinds, over half a minute
  flaw seeded = flaw::none;
  bool tell = false;            ///< every fault and submission, on standard output
};

struct history {
  std::vector<std::string> found;     ///< what went wrong, with time and seed; empty: nothing
  std::string fingerprint;            ///< of everything that was written down, in order
  std::uint64_t events = 0, turns = 0, goals_done = 0, goals_failed = 0, faults = 0, heads = 0, tasks = 0;
  double virtual_seconds = 0;
};

/// `folder`: empty, for this history alone. The certificates are in `certificates` (make_certificates).
history run_agents(std::uint64_t seed, const history_rules& r, const std::filesystem::path& folder, const std::filesystem::path& certificates);
void make_certificates(const std::filesystem::path& folder, int members);

/// Runs `f` in a child; its answer, or what ended it (a signal, a sanitizer's report).
history in_a_process_of_its_own(const std::function<history()>& f);

} // namespace flywheel::simulation
