#pragma once
// One node: the durable plane, the agents and their supervisor in one process. Embedded mode is a single node that opens
// no cluster port; other terminals reach it through a socket in its state directory (control_endpoint).

#include "actors/protocol/messages.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/placement/slot.hpp"
#include "cluster/security/certificates.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace flywheel {

/// Makes this node the head of a cluster: others join it at its port.
struct cluster_options {
  tls_files files;                           ///< of a node; its name is in the certificate
  std::string address = "127.0.0.1";         ///< to listen at; empty: every one of this machine's
  std::uint16_t port = 0;                    ///< 0: any free port
  std::uint16_t data_port = 0;               ///< for files of nodes that do not share ours; 0: any free port
  std::vector<slot> slots;                   ///< what this node computes on itself; may be none
};

struct node_options {
  std::filesystem::path state;               ///< state directory
  std::vector<std::string> worker_command;   ///< argv of a worker process
  unsigned cores = 0;                        ///< CPU slots; 0: what the machine has
  std::string code_version;                  ///< for lineage
  std::optional<cluster_options> cluster = {}; ///< none: no port is opened
};

class node {
public:
  /// Owns the state directory, opens the journal, starts every agent and continues every unfinished goal.
  /// state_locked, journal_damaged, disk_full, permission_denied, ... with what to do.
  static result<std::unique_ptr<node>> start(node_options options, const time_source& time);

  // Each blocks until answered; any thread but an agent's.
  goal_ack submit(const submit_goal& m);
  acknowledgement cancel(const cancel_goal& m);
  acknowledgement answer(const answer_approval& m);
  acknowledgement rollback(const rollback_model& m);
  /// Serves the champion of a finished goal.
  serve_report serve(const serve_again& m);
  // unsupported where this node is not the head of a cluster.
  gate_answer nodes();
  acknowledgement drain(const drain_node& m);
  /// "launch", "cancel" (actors/dispatcher/gang_format.hpp).
  gate_answer gangs(const ask_gangs& m);
  /// Tells every other node to end; this one goes on.
  acknowledgement shut_down_nodes(const shut_down& m);
  /// Where others join it: "host:port"; empty if it is not the head of a cluster.
  const std::string& cluster_address() const noexcept;
  /// Lets people in through the cluster's port, too. `stop_requested` is called when one of them ends the cluster.
  void open_desk(std::function<void()> stop_requested);

  const std::filesystem::path& state() const noexcept;
  journal& log() noexcept;
  /// Blocks until the journal holds more than `seq` events, the node stops, or `wait` is over. Returns the last seq.
  std::uint64_t wait_after(std::uint64_t seq, nanoseconds wait);
  /// Called from the committing thread after each commit; must not block. Kept until the node ends.
  void on_commit(std::function<void()> f);
  /// Appends an event in this owner's epoch; durable when it returns. Any thread but an agent's.
  result<std::uint64_t> record(event_draft d);
  /// Ends an agent as a crash would; for tests and rehearsals. not_found for an unknown name.
  status crash_agent(const std::string& name);
  /// Lets the agents finish what they are writing, ends workers, releases the state directory. Idempotent.
  void stop();
  ~node();

private:
  node();
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel
