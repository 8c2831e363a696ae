#pragma once
// A release: one folder that holds everything a server needs and proves that it is what was published. Load nothing else
// into a server (I10). Layout and bytes: docs/registry.md.

#include "checkpoints/registry.hpp"
#include "deploy/server/model_server.hpp"

#include <filesystem>

namespace flywheel {

/// The model of a registry version, after every file of it matched its checksum. checksum_mismatch names the file.
result<served_model> load_release(const model_registry& registry, const model_version& version);

/// What open_release found: release.json and serve.json.
struct release {
  std::filesystem::path folder;
  std::string model;
  std::uint32_t version = 0;
  digest registry_manifest;   ///< of the version it was made from
  digest manifest;            ///< names the release's content
  wall_time created;
  model_server_options serve;
  std::string id() const { return model + "/v" + std::to_string(version); }
};

/// Copies a verified version and how to serve it into `folder`, which appears whole or not at all. Asked again for the same
/// version and options it succeeds without changing anything; for others: already_exists.
result<release> make_release(const model_registry& registry, const model_version& version, const model_server_options& serve,
                             wall_time now, const std::filesystem::path& folder);
/// Checks every file; checksum_mismatch names the one that is damaged, missing or too many.
result<release> open_release(const std::filesystem::path& folder);
/// open_release's checks once more, then the model.
result<served_model> load_release(const release& r);

} // namespace flywheel
