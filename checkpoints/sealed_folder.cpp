#include "checkpoints/sealed_folder.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

#include <set>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
constexpr int nesting_max = 32;

error damaged(const fs::path& path, std::string what) {
  return error{errc::checksum_mismatch, std::move(what), path.string(),
               "restore this file from a backup, or move its folder away and publish again"};
}

result<std::set<std::string>> list_files(const fs::path& folder, const std::string& manifest) {
  std::set<std::string> names;
  std::error_code code;
  fs::recursive_directory_iterator i{folder, fs::directory_options::none, code};
  for (; !code && i != fs::recursive_directory_iterator{}; i.increment(code)) {
    const auto type = i->symlink_status(code).type();
    if (code)
      break;
    if (type == fs::file_type::directory)
      continue;
    const auto name = i->path().lexically_relative(folder).generic_string();
    if (type != fs::file_type::regular)
      return error{errc::unsupported, "only plain files can be published, and this is none", i->path().string()};
    if (!is_valid_utf8(name))
      return error{errc::unsupported, "a published file needs a name in UTF-8", printable(i->path().string())};
    if (name != manifest)
      names.insert(name);
  }
  if (code)
    return error_from_errno(code.value(), "list " + folder.string());
  return names;
}

} // namespace

std::string seal_document(const json& body) {
  return json{{"body", body}, {"sha256", digest_of(body.dump()).hex()}}.dump() + "\n";
}

result<sealed_document> read_document(const fs::path& path, std::size_t bytes_max) {
  FLYWHEEL_TRY(const auto bytes, read_file(path, bytes_max));
  // What is nested deeper than anything of ours is dropped, and then missed: dump() would need stack for each level.
  const auto shallow = [](int depth, json::parse_event_t, json&) { return depth <= nesting_max; };
  const json j = json::parse(bytes, shallow, false);
  if (!j.is_object() || !j.contains("body") || !j.contains("sha256") || j.dump() + "\n" != bytes)
    return damaged(path, "the file is damaged: it is not the text that was written");
  sealed_document d;
  d.body = j["body"].dump();
  d.id = digest_of(d.body);
  if (j["sha256"] != d.id.hex())
    return damaged(path, "the file is damaged: its text does not match its checksum");
  return d;
}

result<json> hash_files(const fs::path& folder, const std::string& manifest) {
  FLYWHEEL_TRY(const auto names, list_files(folder, manifest));
  json files = json::object();
  for (const auto& name : names) {
    FLYWHEEL_TRY(const auto hash, digest_of_file(folder / name));
    std::error_code code;
    const auto bytes = fs::file_size(folder / name, code);
    if (code)
      return error_from_errno(code.value(), "size of " + (folder / name).string());
    files[name] = {{"bytes", bytes}, {"sha256", hash.hex()}};
  }
  return files;
}

status check_files(const fs::path& folder, const std::string& manifest, const json& files) {
  FLYWHEEL_TRY(const auto names, list_files(folder, manifest));
  for (const auto& name : names)
    if (!files.contains(name))
      return damaged(folder / name, "this file was not published: the manifest does not name it");
  for (const auto& [name, expected] : files.items()) {
    if (!names.contains(name))
      return damaged(folder / name, "a published file is gone");
    FLYWHEEL_TRY(const auto hash, digest_of_file(folder / name));
    if (!expected.is_object() || expected.value("sha256", "") != hash.hex())
      return damaged(folder / name, "the file is damaged: it does not match the checksum in the manifest");
  }
  return success();
}

} // namespace flywheel
