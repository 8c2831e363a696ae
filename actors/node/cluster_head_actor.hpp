#pragma once
// What makes a node the head of a cluster: its gate, its dispatcher, its port, and the desk behind it.

#include "actors/dispatcher/dispatcher_actor.hpp"
#include "actors/gate/service_directory.hpp"
#include "actors/node/node.hpp"
#include "actors/trainer/trainer_actor.hpp"
#include "cluster/transfer/file_server.hpp"

namespace flywheel {

class cluster_head {
public:
  /// Checks the certificates and sets up `config` for TLS; before the actor system is made. Errors as of check_tls_files.
  static result<std::unique_ptr<cluster_head>> prepare(const cluster_options& options, caf::actor_system_config& config, const agent_context& context);
  /// Kept up to date by the dispatcher.
  std::shared_ptr<const std::atomic<unsigned>> usable_slots() const { return usable_slots_; }
  /// Starts gate and dispatcher; returns how the trainer gets its task runner. `context` outlives all.
  std::function<result<std::unique_ptr<task_runner>>(worker_pool_events)> start(caf::actor_system& system, const agent_context& context,
                                                                                const std::vector<std::string>& worker_command);
  /// On which node `agent` lives is decided here; `start_here` makes it on this one. To be entered in the directory in its place.
  caf::actor seat(const std::string& agent, std::function<caf::actor()> start_here);
  const agent_desk_agent& agents() const noexcept { return agents_; }
  /// Opens the port, and writes <state>/run/cluster.json: {"address", "head", "pid"}. address_in_use, ...
  status open(const state_layout& layout);
  void open_desk(node& owner, std::function<void()> stop_requested);
  const dispatcher_agent& dispatcher() const noexcept { return dispatcher_; }
  const std::string& address() const noexcept { return address_; }
  /// Ends its actors; before the actor system.
  void stop();

private:
  cluster_head() = default;
  std::string reachable_address() const;
  cluster_options options_;
  std::string name_, token_, address_;
  std::shared_ptr<std::atomic<unsigned>> usable_slots_ = std::make_shared<std::atomic<unsigned>>(1);
  std::shared_ptr<task_channel> channel_ = std::make_shared<task_channel>();
  service_directory services_;
  caf::actor_system* system_ = nullptr;
  gate_agent gate_;
  dispatcher_agent dispatcher_;
  agent_desk_agent agents_;
  gate_service desk_;
  caf::actor watchman_;
  std::vector<slot> slots_;
  std::shared_ptr<transfer::grant_book> grants_ = std::make_shared<transfer::grant_book>();
  std::unique_ptr<transfer::file_server> files_; ///< null if this machine cannot have one
};

} // namespace flywheel
