#pragma once
// The data steward's work, without the actor: from a file to a snapshot in one streaming pass.
// Words and rules for people in docs/data.md; the snapshot's files in cluster/dataset/snapshot.hpp.

#include "actors/data_steward/file_check.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"
#include "cluster/dataset/snapshot.hpp"
#include "cluster/goal/goal_spec.hpp"
#include "cluster/security/sealed_box.hpp"

#include <atomic>
#include <filesystem>
#include <functional>

namespace flywheel {

/// Reads `goal.data.source` once (twice if its contract must be inferred first), checks every row, and publishes
/// `snapshots_root`/<name>/ atomically. The same content gives the same name; an equal snapshot that is there already is
/// verified and reused. Blocking: call from a thread of its own.
/// Memory: checking is bounded (see check_options); the accepted rows are held by column, 8 bytes a number, 4 a category,
/// 8 a row; up to three times that while the snapshot is written.
/// Errors: not_found; invalid_format (not a table, damaged compression, other encoding); invalid_contract (a column is
/// missing, a rule is wrong); invalid_data (too many bad rows, too few rows, not fresh, one class only, no features);
/// already_exists (sealed for another evaluator); cancelled; disk_full.
result<snapshot_report> ingest(const goal_spec& goal, const std::filesystem::path& snapshots_root,
                               const seal_public_key& evaluator, const check_options& options,
                               const std::atomic<bool>& stop);

} // namespace flywheel
