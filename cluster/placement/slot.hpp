#pragma once
// What work is placed on: a GPU, or a share of the cores of a node without GPUs.

#include "cluster/base/clock.hpp"

#include <compare>
#include <cstdint>
#include <set>
#include <string>

namespace flywheel {

enum class slot_kind : std::uint8_t { cpu, gpu };
constexpr const char* name_of(slot_kind k) noexcept { return k == slot_kind::cpu ? "cpu" : "gpu"; }

struct slot_id {
  std::string node, name;            ///< "a", "gpu0"
  auto operator<=>(const slot_id&) const = default;
  std::string text() const { return node + "/" + name; }
};

struct slot {
  slot_id id;
  slot_kind kind = slot_kind::cpu;
  std::string model;                 ///< "NVIDIA H200"; of a CPU slot "4 cores"
  std::uint64_t memory = 0;          ///< bytes
  int numa = 0;                      ///< slots of one NUMA node of one node are close to each other
  bool shares_files = true;          ///< its node sees the head's files
};

/// All or nothing: either every rank gets its slot, or none does.
struct gang_request {
  std::string id;                    ///< of the trial; unique among those that wait or run
  std::string account;               ///< whose budget pays: the goal
  std::uint32_t ranks = 1;           ///< each on a slot of its own
  slot_kind kind = slot_kind::cpu;
  std::uint64_t memory_min = 0;      ///< bytes a slot must have
  std::uint32_t share = 100;         ///< per cent of a slot a rank takes, 1 to 100: small trials are packed
  int priority = 0;                  ///< larger goes first
  bool preemptible = true;           ///< may be asked to stop at its next checkpoint for one of larger priority
  bool needs_files = false;          ///< only on nodes that see the head's files
  std::set<slot_id> avoid{};         ///< not on these: it failed there again and again
  nanoseconds time_max{};            ///< the lease's length, and what is paid in advance: ranks * share * time_max
};

} // namespace flywheel
