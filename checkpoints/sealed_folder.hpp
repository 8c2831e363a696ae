#pragma once
// Folders and small documents that notice damage: a document carries the SHA-256 of itself, and a manifest, which is such
// a document, the SHA-256 of every file beside it. Bytes: docs/registry.md. Used by the registry and by releases.

#include "cluster/base/error.hpp"
#include "cluster/content/digest.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>

namespace flywheel {

/// {"body":<body>,"sha256":"<of the body's compact text>"} and a newline, compact, keys in order.
std::string seal_document(const nlohmann::json& body);

struct sealed_document {
  digest id;        ///< SHA-256 of the body's compact text
  std::string body; ///< that text
};
inline constexpr std::size_t document_bytes_max = std::size_t{4} << 20;
/// Any changed byte is checksum_mismatch naming the file; not_found if there is no such file; too_large before it is read.
result<sealed_document> read_document(const std::filesystem::path& path, std::size_t bytes_max = document_bytes_max);

/// {"<relative path>":{"bytes":n,"sha256":"..."}} of every file under `folder` except `manifest` itself. Links, devices and
/// pipes are refused: a published folder holds files only.
result<nlohmann::json> hash_files(const std::filesystem::path& folder, const std::string& manifest);
/// Compares `folder` with what hash_files said: checksum_mismatch names the first file that differs, lacks or is too many.
status check_files(const std::filesystem::path& folder, const std::string& manifest, const nlohmann::json& files);

} // namespace flywheel
