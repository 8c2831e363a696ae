#include "tests/architecture/source_map.hpp"

namespace flywheel::architecture {
namespace {

/// What every agent may use: the protocol and everything below it, but never another agent.
const std::vector<std::string> below_agents{"actors/protocol",  "cluster/goal",       "cluster/journal", "cluster/worker", "cluster/dataset",
                                            "cluster/security", "cluster/statistics", "models",          "checkpoints",    "gpu/models",
                                            "deploy",           "deploy/server"};
const std::vector<std::string> agents{"actors/conductor", "actors/data_steward", "actors/architect", "actors/hpo",     "actors/trainer",
                                      "actors/evaluator", "actors/deployer",     "actors/monitor",   "actors/learner"};

std::vector<folder_rule> build_rules() {
  std::vector<folder_rule> rules{
      {"cluster/base", {}, "errors, clock, random, ids, limits, text, the JSON value; otherwise the standard library only"},
      {"cluster/statistics", {"cluster/base"}, "distributions and intervals"},
      {"cluster/membership", {"cluster/base"}, "who belongs to the cluster, and until when a lease holds"},
      {"cluster/placement", {"cluster/base"}, "slots, gangs, leases, budgets"},
      {"cluster/content", {"cluster/base"}, "digests, and files published whole"},
      {"cluster/security", {"cluster/content"}, "sealed data; certificates, roles, signatures"},
      {"cluster/dataset", {"cluster/content", "cluster/security"}, "tables and snapshots"},
      {"cluster/journal", {"cluster/content"}, "the hash-chained log and the state directory"},
      {"cluster/goal", {"cluster/content"}, "the goal spec"},
      {"cluster/worker", {"cluster/content"}, "worker processes and their protocol"},
      {"cluster/transfer", {"cluster/content", "cluster/worker"}, "files between the head and nodes that share none with it"},
      {"cluster/gang", {"cluster/worker"}, "the ranks of a gang: started, watched, killed, judged, started again"},
      {"gpu", {"cluster/base"}, "memory, random numbers and schedules of the device side"},
      {"gpu/kernels", {"gpu"}, "one operation a page, with its CPU twin"},
      {"gpu/models", {"gpu/kernels"}, "networks made of kernels"},
      {"nccl", {"cluster/base", "gpu"}, "how the ranks of a gang combine their gradients"},
      {"checkpoints", {"cluster/content"}, "HDF5 checkpoints, retention, the model registry"},
      {"cluster/chaos", {"cluster/goal", "cluster/journal", "cluster/security", "checkpoints"}, "faults: a file of them, who is struck when, what was kept"},
      {"models", {"cluster/dataset", "cluster/statistics", "gpu/models", "checkpoints"}, "a fitted model: encoder and family together"},
      {"models/gang", {"cluster/gang", "nccl", "gpu/models", "checkpoints"}, "a training by the ranks of a gang"},
      {"deploy/server", {"cluster/base", "models"}, "HTTP model server"},
      {"deploy", {"cluster/content", "cluster/goal", "checkpoints", "models", "deploy/server"}, "releases, routes, rollout rules"},
      {"actors/protocol",
       {"cluster/goal", "cluster/journal", "cluster/security", "cluster/worker", "models"},
       "every message and agent interface; reading it teaches the system"},
  };
  rules.push_back({"actors/gate", {"actors/protocol", "cluster/security", "cluster/worker"}, "the one door between nodes: who is there, order, credit, calls"});
  rules.push_back({"actors/dispatcher",
                   {"actors/gate", "actors/protocol", "cluster/gang", "cluster/journal", "cluster/membership", "cluster/placement", "cluster/transfer", "cluster/worker", "nccl", "checkpoints"},
                   "which task runs on which node"});
  rules.push_back({"actors/remote_agents", {"actors/gate", "actors/protocol", "cluster/journal", "cluster/worker"}, "agents that live on another node than the head"});
  for (const auto& agent : agents)
    rules.push_back({agent, below_agents, "an agent: *_actor dispatches, pure units beside it decide"});
  auto below_node = agents;
  below_node.insert(below_node.end(), below_agents.begin(), below_agents.end());
  below_node.insert(below_node.end(), {"actors/dispatcher", "actors/gate", "actors/remote_agents", "cluster/membership", "cluster/placement", "cluster/transfer"});
  rules.push_back({"actors/node", below_node, "composition: starts, supervises and connects the agents"});
  auto below_client = below_node;
  below_client.insert(below_client.end(), {"actors/node", "gpu", "nccl", "cluster/chaos", "cluster/gang", "models/gang"}); // `doctor` and `launch`
  rules.push_back({"actors/client", below_client, "the command line"});
  return rules;
}

} // namespace

const std::vector<folder_rule>& folder_rules() {
  static const std::vector<folder_rule> rules = build_rules();
  return rules;
}

const std::vector<library_rule>& library_rules() {
  static const std::vector<library_rule> rules{
      {"CAF", {"caf/"}, "actors/(protocol|gate|node)/.*|actors/.*_actor\\.[ch]pp", "everything that decides is testable without an actor system"},
      {"ZeroMQ", {"zmq.h", "zmq.hpp", "zmq_addon.hpp"}, "cluster/(worker|transfer)/.*|actors/(node|client|gate)/control_.*", "the data plane has one door per side"},
      {"MessagePack", {"msgpack"}, "cluster/worker/.*|actors/gate/.*", "wire formats are described once"},
      {"SQLite", {"sqlite3"}, "cluster/journal/.*", "the journal is the only database"},
      {"HDF5", {"hdf5", "H5"}, "checkpoints/.*hdf5.*", "the library's global state and error codes stay behind one gate"},
      {"RESTinio", {"restinio/", "asio"}, "deploy/server/(.*_restinio|polite_socket)\\.[ch]pp", "22 s and 760 MB to compile"},
      {"XGBoost", {"xgboost/"}, "models/xgboost_.*", "its error codes are translated once"},
      {"hwloc", {"hwloc"}, "cluster/placement/machine_topology_hwloc\\.cpp", "one file knows how machines are built"},
      {"OpenBLAS", {"cblas.h", "openblas"}, "gpu/kernels/.*", "kernels own the arithmetic"},
      {"CUDA and NCCL", {"cuda", "cublas", "nccl"}, "(gpu|nccl)/.*(\\.cuh?|_cuda\\.[ch]pp|_nccl\\.[ch]pp)", "the program starts on machines without them"},
      {"Gloo", {"gloo/"}, "nccl/.*_gloo\\.cpp", "its exceptions end in one file"},
      {"yaml-cpp", {"yaml-cpp/"}, "cluster/goal/.*", "it accepts duplicate keys and throws; the goal parser guards it"},
      {"OpenSSL", {"openssl/"}, "cluster/(content|security)/.*|actors/gate/tls_transport_actor\\.cpp", "digests and keys have one home; CAF leaves errors in its queue"},
  };
  return rules;
}

const std::vector<word_rule>& word_rules() {
  static const std::vector<word_rule> rules{
      {{"system_clock::now", "steady_clock::now", "high_resolution_clock", "clock_gettime(", "gettimeofday(", "time(nullptr)", "time(0)"},
       "cluster/base/clock\\.cpp",
       "decisions are told the time; one file reads it"},
      {{"random_device", "std::rand(", "mt19937", "std::uniform_", "std::normal_distribution", "std::shuffle"},
       "cluster/base/(random|ids)\\.cpp|actors/protocol/caf_compat\\.hpp",
       "randomness is seeded and passed in, and the same on every platform"},
      {{"sleep_for(", "sleep_until(", "usleep(", "nanosleep("},
       "cluster/journal/file_lock\\.cpp|actors/client/commands_goal\\.cpp", // another process's lock sends no event
       "an event is waited for, never slept towards"},
      {{"<nlohmann/json.hpp>"}, "cluster/base/json\\.hpp", "its bulk is compiled once, in cluster/base/json.cpp: a fifth of many a file's build time"},
  };
  return rules;
}

const std::vector<untested_unit>& untested_units() {
  const std::string whole = "only inside a running node: tests/process runs goals through it";
  static const std::vector<untested_unit> units{
      {"actors/client/commands.cpp", "the whole program: tests/process runs it"},
      {"actors/client/commands_certs.cpp", "the whole program: tests/process runs it"},
      {"actors/client/background_process.cpp", whole},
      {"actors/client/commands_chaos.cpp", "the whole program: tests/process runs it"},
      {"actors/client/commands_cluster.cpp", "the whole program: tests/process runs it"},
      {"actors/client/commands_slurm.cpp", "the whole program: tests/process runs it"},
      {"actors/client/commands_goal.cpp", "the whole program: tests/process runs it"},
      {"actors/client/commands_launch.cpp", "the whole program: tests/process runs it"},
      {"actors/client/commands_look.cpp", "the whole program: tests/process runs it"},
      {"actors/client/commands_use.cpp", "the whole program: tests/process runs it"},
      {"actors/client/cluster_events.cpp", "the whole program: tests/process/watching_test runs it"},
      {"actors/client/control_route.cpp", whole},
      {"actors/client/goal_follower.cpp", whole},
      {"actors/client/serving_place.cpp", whole},
      {"actors/node/control_endpoint.cpp", whole},
      {"gpu/kernels/module_cuda.cu", "a table of functions: tests/gpu/kernels/operations_test.cpp calls each through dlopen"},
  };
  return units;
}

} // namespace flywheel::architecture
