#pragma once
// Which processes of this machine belong to a cluster: found in /proc, and believed only if they are this user's and hold the lock of their
// state folder. Nothing else is ever struck.

#include "cluster/chaos/chaos_planner.hpp"
#include "cluster/journal/state_directory.hpp"

namespace flywheel {

/// A process as /proc tells it; all of it is gone once the process is.
struct process_facts {
  int pid = 0, parent = 0;
  std::uint64_t started = 0;                  ///< with the pid: this process and no other
  bool zombie = false, stopped = false;
  std::vector<std::string> argv;
};
/// Nothing if there is no such process.
std::optional<process_facts> process_of(int pid);
/// True if that very process is still there, and not only its remains.
bool still_there(int pid, std::uint64_t started);
/// SIGKILL, SIGSTOP, ... to that very process; false if it is gone. Never to init or to this process.
bool signal_process(int pid, std::uint64_t started, int number);
std::vector<std::string> environment_of(int pid);

struct node_process {
  std::string name;
  bool head = false;
  process_facts process;
  std::filesystem::path state;                ///< its own state folder
  std::filesystem::path folder;               ///< it works in
  std::filesystem::path log;                  ///< where its output goes; empty: no file
  std::vector<std::string> environment;
  bool own_network = false;                   ///< a network namespace that is not ours
};

/// The nodes of the cluster whose head owns `state` and listens at `address`, as far as they run here as this user. `names`: whom the head
/// knows; others are left out.
std::vector<node_process> nodes_here(const std::filesystem::path& state, const std::string& address, const std::vector<std::string>& names);
/// Whom one could strike now: those nodes, their workers and ranks, the ranks of `flywheel launch --state`, and the head's agents.
std::vector<chaos_subject> subjects_here(const std::filesystem::path& state, const std::vector<node_process>& nodes);

} // namespace flywheel
