#pragma once
// The sharded checkpoints of one training in one folder, shared by all its ranks. Layout:
//
//   attempt.json                              the newest attempt that has begun (sealed)
//   lock                                      held while the two facts below change
//   step-000000000100-attempt-000002/         one checkpoint
//     shard-00000-of-00004.h5  .json          written by each rank on its own; the receipt follows the shard
//     manifest.json                           last, by whoever finds the receipts complete: now it is a checkpoint
//
// A folder without a manifest does not count. An attempt that was given up and wakes can write shards into its own folders,
// but no manifest once a newer attempt has begun.

#include "checkpoints/retention_policy.hpp"
#include "checkpoints/shard_writer.hpp"
#include "checkpoints/sharded_checkpoint.hpp"

namespace flywheel {

struct found_sharded {
  std::optional<sharded_checkpoint> newest;
  std::vector<error> damaged;             ///< newer ones that do not open, newest first
  std::vector<checkpoint_id> damaged_ids; ///< theirs
};

/// Published checkpoints, newest last. A folder that does not exist has none.
result<std::vector<checkpoint_id>> list_sharded(const std::filesystem::path& root);
/// The newest that opens (manifest, sizes and heads are right; its tensors are verified as they are read). Changes nothing,
/// so that all ranks may ask; where ranks read from different machines, let one ask and tell the others the id.
result<found_sharded> find_newest_sharded(const std::filesystem::path& root);
/// Renames a damaged checkpoint to "<name>.damaged", so that it is never found again. One rank does it for all.
status set_aside_sharded(const std::filesystem::path& root, checkpoint_id id);
/// One more than the newest attempt that has begun; 1 at first. The fencing number where nobody hands out a better one.
result<std::uint64_t> next_attempt(const std::filesystem::path& root);

/// Begins the next attempt in nobody's name but the caller's, at once and for ever: from now on older attempts publish nothing. For a
/// launcher, before it starts the ranks that then begin() it. `after`: only if that is the newest attempt (0: none has begun), else
/// stale_epoch: somebody else has taken the folder over.
result<std::uint64_t> take_attempt(const std::filesystem::path& root, std::optional<std::uint64_t> after = {});

/// A rank's hand on the folder, for writing. A value; any thread, and any number of processes at a time.
class sharded_store {
public:
  /// Begins `attempt` (or joins it: each of its ranks calls this). stale_epoch if a newer one has begun. Sweeps what older
  /// attempts left unpublished: they cannot publish it any more.
  static result<sharded_store> begin(const std::filesystem::path& root, std::uint64_t attempt, retention_rule rule = {});

  /// Durable when it returns: the shard, then its receipt. `attributes` is UTF-8; rank 0's go into the manifest.
  status write(std::uint64_t step, std::uint32_t rank, std::uint32_t ranks, const std::string& attributes, const shard_layout& layout,
               const staging_buffer& image, const shard_write_options& options, const std::atomic<bool>& cancelled) const;
  /// Publishes if all ranks' receipts are there; true if the checkpoint is published now (by whomever). Each rank calls it
  /// after write(): the last one does it. On network file systems that show new files late: once more after a barrier.
  /// stale_epoch: a newer attempt has begun. invalid_argument: the ranks' parts do not make whole tensors.
  result<bool> publish(std::uint64_t step, std::uint32_t ranks) const;

  std::filesystem::path folder_of_step(std::uint64_t step) const;
  std::uint64_t attempt() const noexcept { return attempt_; }
  const std::filesystem::path& root() const noexcept { return root_; }

private:
  void remove_old() const;
  std::filesystem::path root_;
  std::uint64_t attempt_ = 0;
  retention_rule rule_;
};

} // namespace flywheel
