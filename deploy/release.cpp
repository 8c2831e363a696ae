#include "deploy/release.hpp"

#include "checkpoints/sealed_folder.hpp"
#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* manifest_name = "release.json";
constexpr const char* serve_name = "serve.json";
constexpr const char* model_folder = "model";
constexpr int format = 1;

json serve_to_json(const model_server_options& o) {
  return {{"name", o.name},           {"address", o.address},   {"port", o.port},
          {"threads", o.threads},     {"observations_max", o.observations_max},
          {"connections_max", o.connections_max}, {"request_time_max_ns", o.request_time_max.count()}};
}
model_server_options serve_from_json(const json& j) {
  model_server_options o;
  j.at("name").get_to(o.name);
  j.at("address").get_to(o.address);
  j.at("port").get_to(o.port);
  j.at("threads").get_to(o.threads);
  j.at("observations_max").get_to(o.observations_max);
  j.at("connections_max").get_to(o.connections_max);
  o.request_time_max = std::chrono::nanoseconds{j.at("request_time_max_ns").get<std::int64_t>()};
  return o;
}

status copy_model(const fs::path& from, const fs::path& to) {
  std::error_code code;
  fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks, code);
  if (code)
    return error_from_errno(code.value(), "copy " + from.string() + " to " + to.string());
  return success();
}

/// What was copied must be what the registry promised, not only agree with itself.
status check_copy(const fs::path& folder, const digest& manifest) {
  FLYWHEEL_TRY(const auto document, read_document(folder / "manifest.json"));
  const json body = json::parse(document.body, nullptr, false);
  if (document.id != manifest || !body.contains("files"))
    return error{errc::checksum_mismatch, "the copy of the manifest is not what was published", folder.string(), "try again"};
  return check_files(folder, "manifest.json", body["files"]);
}

result<served_model> load_from(const fs::path& folder, const std::string& id) {
  auto model = load_model(folder);
  if (!model)
    return std::move(model).error().in("loading " + id);
  return served_model{id, std::move(*model)};
}

} // namespace

result<served_model> load_release(const model_registry& registry, const model_version& version) {
  FLYWHEEL_CHECK(registry.verify(version));
  return load_from(version.folder, version.id());
}

result<release> make_release(const model_registry& registry, const model_version& version, const model_server_options& serve,
                             wall_time now, const fs::path& folder) {
  const auto same = [&]() -> result<release> {
    FLYWHEEL_TRY(auto existing, open_release(folder));
    if (existing.registry_manifest != version.manifest || serve_to_json(existing.serve) != serve_to_json(serve))
      return error{errc::already_exists, "it holds another release, " + existing.id(), folder.string(), "choose another folder"};
    return existing;
  };
  if (fs::exists(folder / manifest_name))
    return same();
  FLYWHEEL_CHECK(registry.verify(version));
  const auto fill = [&](const fs::path& temporary) -> status {
    FLYWHEEL_CHECK(copy_model(version.folder, temporary / model_folder));
    FLYWHEEL_CHECK(check_copy(temporary / model_folder, version.manifest));
    FLYWHEEL_CHECK(publish_file(temporary / serve_name, serve_to_json(serve).dump(2) + "\n"));
    FLYWHEEL_TRY(const json files, hash_files(temporary, manifest_name));
    return publish_file(temporary / manifest_name, seal_document({{"format", format},
                                                                 {"model", version.model},
                                                                 {"version", version.version},
                                                                 {"registry_manifest", version.manifest.hex()},
                                                                 {"created_ns", now.ns},
                                                                 {"files", files}}));
  };
  if (auto published = publish_folder(folder, fill); !published) {
    if (published.error().code == errc::already_exists) // somebody else was quicker: perhaps with the same
      return same();
    return std::move(published).error();
  }
  FLYWHEEL_TRY(auto made, open_release(folder));
  return made;
}

result<release> open_release(const fs::path& folder) {
  const fs::path manifest = folder / manifest_name;
  FLYWHEEL_TRY(const auto document, read_document(manifest));
  try {
    const json body = json::parse(document.body);
    if (body.at("format") != format)
      return error{errc::incompatible_version, "the release has format " + body.at("format").dump(), manifest.string(),
                   "use a newer Flywheel"};
    FLYWHEEL_CHECK(check_files(folder, manifest_name, body.at("files")));
    release r;
    r.folder = folder;
    body.at("model").get_to(r.model);
    body.at("version").get_to(r.version);
    FLYWHEEL_TRY(r.registry_manifest, digest::from_hex(body.at("registry_manifest").get<std::string>()));
    r.manifest = document.id;
    r.created = wall_time{body.at("created_ns").get<std::int64_t>()};
    FLYWHEEL_TRY(const auto serve, read_file(folder / serve_name, 1 << 20));
    r.serve = serve_from_json(json::parse(serve));
    return r;
  } catch (const json::exception&) {
    return error{errc::invalid_format, "the release lacks a field", manifest.string(), "make the release again"};
  }
}

result<served_model> load_release(const release& r) {
  FLYWHEEL_TRY(const auto checked, open_release(r.folder));
  if (checked.manifest != r.manifest)
    return error{errc::checksum_mismatch, "the release is another one than was opened", r.folder.string(), "make the release again"};
  return load_from(r.folder / model_folder, r.id());
}

} // namespace flywheel
