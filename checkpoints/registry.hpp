#pragma once
// Immutable model versions with lineage, and the aliases that point at them. A version is a folder
// <root>/<model>/v<version>/ with the model's files, lineage.json and manifest.json (SHA-256 of every file). Several
// processes may use one registry: writers of one model take turns by a lock file. Layout and bytes: docs/registry.md.

#include "cluster/base/clock.hpp"
#include "cluster/content/digest.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace flywheel {

/// Where a version comes from: enough to make it again.
struct lineage {
  std::string goal, goal_digest;     ///< goal id and spec digest
  std::string snapshot;              ///< data snapshot digest
  std::string source_digest;         ///< of the raw file
  std::string code;                  ///< program version and build
  std::string family, trial, params; ///< params: JSON
  std::uint64_t seed = 0;
  std::uint64_t journal_seq = 0;     ///< of the decision that chose it
  std::map<std::string, double> metrics;
};

struct model_version {
  std::string model;                 ///< name
  std::uint32_t version = 0;         ///< 1, 2, 3, ...; only grows (I6)
  digest manifest;                   ///< names the content
  lineage origin;
  wall_time created;
  std::filesystem::path folder;
  std::string id() const { return model + "/v" + std::to_string(version); }
};

class model_registry {
public:
  static result<model_registry> open(const std::filesystem::path& root);
  /// Publishes the files that `fill` writes into a temporary folder, as the next version. Idempotent by `key`: a second
  /// call with the same key returns the version of the first (I3), whatever `fill` would write.
  result<model_version> publish(const std::string& model, const std::string& key, const lineage& origin, wall_time now,
                                const std::function<status(const std::filesystem::path&)>& fill);
  /// Every version of `model` (or of all), oldest first. A damaged one is an error that names the file; with `damage` given
  /// it is left out instead and its error appended there.
  result<std::vector<model_version>> list(const std::string& model = {}, std::vector<error>* damage = nullptr) const;
  /// "churn/v3", "churn@champion" or "churn" (its champion, else its newest). not_found names near matches.
  result<model_version> find(const std::string& reference) const;
  /// Re-hashes every file against the manifest (I10).
  status verify(const model_version& v) const;
  /// The alias is a small file, published atomically; `epoch` older than the stored one: stale_epoch (I5).
  /// Version 0 takes the alias away (and keeps its epoch). not_found if there is no such version.
  status set_alias(const std::string& model, const std::string& alias, std::uint32_t version, std::uint64_t epoch);
  result<std::uint32_t> alias(const std::string& model, const std::string& alias) const;
  std::map<std::string, std::uint32_t> aliases(const std::string& model) const;
  const std::filesystem::path& root() const noexcept { return root_; }

private:
  explicit model_registry(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path root_;
};

} // namespace flywheel
