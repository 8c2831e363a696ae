#pragma once
// Where a cluster lives on disk. One owner at a time, enforced by a lock that dies with the process.

#include "cluster/journal/file_lock.hpp"

#include <filesystem>
#include <string>

namespace flywheel {

/// <root>/journal.db         the journal (cluster/journal)
/// <root>/data/<digest>/     snapshots (data steward)
/// <root>/sealed/            the evaluator's private key, mode 0700
/// <root>/trials/<trial>/    checkpoints of trials
/// <root>/models/            the registry
/// <root>/run/               sockets, the owner's pid; emptied at start
/// <root>/log/
struct state_layout {
  std::filesystem::path root;
  std::filesystem::path data() const { return root / "data"; }
  std::filesystem::path sealed() const { return root / "sealed"; }
  std::filesystem::path trials() const { return root / "trials"; }
  std::filesystem::path models() const { return root / "models"; }
  std::filesystem::path run() const { return root / "run"; }
  std::filesystem::path log() const { return root / "log"; }
  /// Data-plane socket on which the owner takes commands from other terminals (mode 0600).
  std::filesystem::path control_socket() const { return run() / "control.sock"; }
};

/// `explicit_path` (--state), else $FLYWHEEL_STATE, else $XDG_STATE_HOME/flywheel, else ~/.local/state/flywheel.
result<std::filesystem::path> default_state_path(const std::string& explicit_path);

/// Holds the flock on <root>/lock for its lifetime. Creates the layout with mode 0700.
class state_directory {
public:
  /// state_locked (naming the owner's pid and what to do) if another process owns it; too_large if the path is too
  /// long for sockets in it; invalid_argument if the folder holds something else. Removes what a killed owner left
  /// half-written.
  static result<state_directory> own(const std::filesystem::path& root);
  const state_layout& layout() const noexcept { return layout_; }
  /// Grows by one with each owner: the fencing epoch (I5). Durable before own() returns.
  std::uint64_t epoch() const noexcept { return epoch_; }

private:
  state_directory() = default;
  state_layout layout_;
  std::uint64_t epoch_ = 0;
  file_lock lock_;
};

/// The pid of the process that owns `root` now, or 0. Creates nothing.
int owner_pid(const std::filesystem::path& root);

} // namespace flywheel
