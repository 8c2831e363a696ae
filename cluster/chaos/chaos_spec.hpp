#pragma once
// A file of faults: what `flywheel chaos` does to a cluster, in Chaos Mesh's words (docs/chaos.md). Read and checked like a goal file:
// strictly, everything that is wrong at once, each with its place.

#include "cluster/goal/goal_parser.hpp"

namespace flywheel {

/// Which nodes. Both empty: every node of the cluster.
struct chaos_selector {
  std::vector<std::string> nodes;             ///< by name
  std::string role = "any";                   ///< "any" "head" "node" (every one but the head)
};
struct chaos_delay {
  std::optional<nanoseconds> latency;
  nanoseconds jitter{0};
  double correlation = 0;                     ///< percent
};
struct chaos_loss {
  std::optional<double> loss;                 ///< percent of the packets
  double correlation = 0;
};
struct chaos_bandwidth {
  std::optional<std::uint64_t> rate;          ///< bytes per second
  std::uint64_t limit = 1u << 20, buffer = 32u << 10; ///< bytes that wait; bytes that may come at once
};
struct chaos_experiment {
  std::string name;
  std::string kind;                           ///< "PodChaos" "NetworkChaos" "IOChaos" "TimeChaos" "StressChaos" "PhysicalMachineChaos"
  std::string action;                         ///< of the kind
  chaos_selector selector;
  std::vector<std::string> containers;        ///< "worker", "rank", "rank-1", or an agent's name
  std::string mode = "one";                   ///< "one" "all" "fixed" "fixed-percent" "random-max-percent"
  std::string value;                          ///< of the three last modes
  std::string schedule;                       ///< "@every 5s"; empty: once
  nanoseconds start_after{0}, jitter{0};
  std::uint64_t count = 0;                    ///< strokes at most; 0: as many as the time allows
  std::optional<nanoseconds> duration;        ///< how long what is not a kill lasts
  nanoseconds grace_period{0};                ///< of pod-kill: SIGTERM so long before SIGKILL
  bool restart = true;                        ///< of pod-kill: start the node again, as it was started
  nanoseconds restart_after = std::chrono::milliseconds{500};
  std::string direction = "to";               ///< "to" the head, "from" it, "both"
  chaos_delay delay;
  chaos_loss loss;
  chaos_bandwidth bandwidth;
  std::string time_offset;                    ///< "-10m"
  std::optional<std::uint64_t> size;          ///< of the ballast
  std::uint32_t workers = 1;                  ///< that burn CPU time

  nanoseconds every() const;                  ///< of the schedule; 0: once
  nanoseconds offset() const;                 ///< time_offset as a number
};
/// Goals that are submitted meanwhile, so that there is something to lose.
struct chaos_load {
  std::string goal;                           ///< path of a goal file; empty: none are
  std::uint32_t count = 3;
  nanoseconds every = std::chrono::seconds{5};
  bool approve = true;
};
struct chaos_spec {
  std::uint32_t version = 1;
  std::string name, description;
  nanoseconds duration = std::chrono::minutes{1};  ///< strokes fall in it
  nanoseconds settle = std::chrono::minutes{5};    ///< and then goals have so long to end
  chaos_load load;
  std::vector<chaos_experiment> experiments;
};

struct chaos_parse {
  chaos_spec spec;                            ///< meaningful only if there are no errors
  std::vector<goal_problem> problems;         ///< sorted by place
  bool ok() const noexcept { return no_errors(problems); }
};
/// YAML or JSON. `folder` makes load.goal absolute. Never throws; bounded time and memory.
chaos_parse parse_chaos(std::string_view text, const std::filesystem::path& folder);
/// SHA-256 of the canonical form (every default filled in, without load.goal's folder): what policy.release.require_chaos names.
digest digest_of(const chaos_spec& spec);
nlohmann::json to_json(const chaos_spec& spec);
/// The agents that can be ended by name.
const std::vector<std::string>& agent_names();
/// Whether the experiment strikes agents, not processes.
bool strikes_agents(const chaos_experiment& e);
/// Whether it strikes this machine (its disk, its CPUs), not a node: such a stroke has no victims.
bool strikes_machine(const chaos_experiment& e);

} // namespace flywheel
