#pragma once
// One node: the durable plane, the agents and their supervisor in one process. Embedded mode is a single node that opens
// no cluster port; other terminals reach it through a socket in its state directory (control_endpoint).

#include "actors/protocol/messages.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/journal/journal.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace flywheel {

struct node_options {
  std::filesystem::path state;               ///< state directory
  std::vector<std::string> worker_command;   ///< argv of a worker process
  unsigned cores = 0;                        ///< CPU slots; 0: what the machine has
  std::string code_version;                  ///< for lineage
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

  const std::filesystem::path& state() const noexcept;
  journal& log() noexcept;
  /// Blocks until the journal holds more than `seq` events, the node stops, or `wait` is over. Returns the last seq.
  std::uint64_t wait_after(std::uint64_t seq, nanoseconds wait);
  /// Called from the committing thread after each commit; must not block. Kept until the node ends.
  void on_commit(std::function<void()> f);
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
