#pragma once
// Reading and writing safetensors files, the form in which most published weights come.

#include "checkpoints/safetensors_format.hpp"
#include "checkpoints/sharded_checkpoint.hpp"

#include <filesystem>
#include <functional>

namespace flywheel {

struct safetensors_content {
  std::map<std::string, std::string> metadata;
  std::vector<tensor> tensors; ///< by place in the file
};

/// The header only, with everything checked; what a file has before deciding to load it.
result<safetensors_header> inspect_safetensors(const std::filesystem::path& path);
/// Everything. The format has no checksums: what was damaged between its writer and here cannot be known. Memory stays
/// below the file's size.
result<safetensors_content> read_safetensors(const std::filesystem::path& path);
/// Atomic and durable. invalid_argument for names, shapes or metadata that could not come back.
status write_safetensors(const std::filesystem::path& path, const safetensors_content& content);
/// The checkpoint's tensors whose names `wanted` accepts, verified as they are read, a few blocks at a time in memory.
status export_safetensors(const std::filesystem::path& path, const sharded_checkpoint& c, const std::map<std::string, std::string>& metadata,
                          const std::function<bool(const std::string& name)>& wanted);

} // namespace flywheel
