#pragma once
// What can be done here, and what cannot: each fault that cannot is refused with what is missing, before anything starts. Pure.

#include "cluster/chaos/chaos_spec.hpp"

namespace flywheel {

/// One node as the head lists it, with what is known of it on this machine.
struct node_means {
  std::string name;
  bool head = false;
  bool here = false;                 ///< its process runs on this machine, as this user
  int pid = 0;
  bool own_network = false;          ///< it is in a network namespace that is not ours
  std::string network;               ///< the namespace's name (ip netns); empty: it has none
  std::string head_address;          ///< as it dials the head
  std::string address;               ///< its own on that way
  std::string inside, outside;       ///< network devices at both ends
  bool outside_is_its_own = false;   ///< nobody else's packets go through `outside`
};

struct chaos_means {
  std::vector<node_means> nodes;
  bool root = false, ip = false, tc = false, nsenter = false;
  bool netem = false, tbf = false;   ///< the kernel has these queues
  std::uint64_t disk_available = 0;  ///< of the state folder's file system
  bool disk_dedicated = false;       ///< it is not that of / or /tmp
  unsigned cores = 1;
};

/// What is left free on a file system that others use, too.
inline constexpr std::uint64_t disk_left_min = 1ull << 30;

/// A sentence for each experiment that cannot be done, "NAME: what is missing". Empty: all can.
std::vector<std::string> why_not_here(const chaos_spec& spec, const chaos_means& means);

struct link_commands {
  std::vector<std::vector<std::string>> strike, undo;
};
/// What cuts or slows the link between a node and the head, and what mends it.
link_commands link_commands_of(const chaos_experiment& e, const node_means& node);

} // namespace flywheel
