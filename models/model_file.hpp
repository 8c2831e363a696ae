#pragma once
// model.json: what a saved model is, and the SHA-256 of every file beside it. Format in docs/formats/model.md.

#include "models/tabular_model.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace flywheel {

inline constexpr int model_format_version = 1;

struct model_file {
  std::string family;
  model_signature signature;
  std::vector<std::string> files; ///< beside model.json, in the same folder
};

/// Hashes the files and publishes model.json, last, so that a folder with a model.json is complete.
status write_model_file(const std::filesystem::path& folder, const model_file& m);
/// Checks model.json's own hash and that of every file it lists.
result<model_file> read_model_file(const std::filesystem::path& folder);

} // namespace flywheel
