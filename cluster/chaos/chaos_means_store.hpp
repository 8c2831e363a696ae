#pragma once
// Looks what this machine lets one do to a cluster.

#include "cluster/chaos/chaos_refusal_policy.hpp"
#include "cluster/chaos/population_store.hpp"

namespace flywheel {

/// `nodes`: as found here; `names`: all that the head lists, alive; `head`: which of them it is; `address`: HOST:PORT of the head. The
/// queues of the kernel are tried in a network namespace that is thrown away.
chaos_means look_at_means(const std::filesystem::path& state, const std::vector<node_process>& nodes, const std::vector<std::string>& names,
                          const std::string& head, const std::string& address);

struct command_end {
  int exit_code = -1;
  std::string out;
};
/// Runs a program of $PATH and waits for it; its errors go nowhere. At most 64 KiB of output.
command_end run_command(std::vector<std::string> words);

} // namespace flywheel
