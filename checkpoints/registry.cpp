#include "checkpoints/registry.hpp"

#include "checkpoints/sealed_folder.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/file.hpp"
#include "cluster/content/publish.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <limits>
#include <sys/file.h>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* manifest_name = "manifest.json";
constexpr const char* lineage_name = "lineage.json";
constexpr const char* counter_name = "newest.json"; ///< the highest version ever published, so that numbers only grow
constexpr const char* aliases_name = "aliases";
constexpr const char* lock_name = "lock";
constexpr int format = 1;

/// Writers of one model take turns, also across processes; the kernel lets go when a process dies.
result<file_handle> lock_model(const fs::path& folder) {
  FLYWHEEL_TRY(auto file, open_file(folder / lock_name, O_RDWR | O_CREAT));
  while (::flock(file.get(), LOCK_EX) != 0)
    if (errno != EINTR)
      return error_from_errno(errno, "lock " + (folder / lock_name).string());
  return file;
}

error damaged(const fs::path& path, std::string what) {
  return error{errc::checksum_mismatch, std::move(what), path.string(),
               "restore this file from a backup, or move its folder away and publish again"};
}

/// "v12" -> 12; nothing for any other name.
std::optional<std::uint32_t> version_of(std::string_view name) {
  std::uint32_t n = 0;
  if (!name.starts_with('v'))
    return std::nullopt;
  const auto [end, code] = std::from_chars(name.data() + 1, name.data() + name.size(), n);
  if (code != std::errc{} || end != name.data() + name.size() || n == 0 || name[1] == '0')
    return std::nullopt;
  return n;
}

fs::path folder_name(const fs::path& root, const std::string& model, std::uint32_t version) {
  return root / model / ("v" + std::to_string(version));
}

result<std::vector<std::uint32_t>> versions_in(const fs::path& folder) {
  std::vector<std::uint32_t> versions;
  std::error_code code;
  for (fs::directory_iterator i{folder, code}, end; !code && i != end; i.increment(code))
    if (const auto v = version_of(i->path().filename().string()))
      versions.push_back(*v);
  if (code && code != std::errc::no_such_file_or_directory)
    return error_from_errno(code.value(), "list " + folder.string());
  std::sort(versions.begin(), versions.end());
  return versions;
}

json lineage_to_json(const lineage& l) {
  return {{"goal", l.goal},         {"goal_digest", l.goal_digest}, {"snapshot", l.snapshot}, {"source_digest", l.source_digest},
          {"code", l.code},         {"family", l.family},           {"trial", l.trial},       {"params", l.params},
          {"seed", l.seed},         {"journal_seq", l.journal_seq}, {"metrics", l.metrics}};
}

result<lineage> lineage_from_json(const fs::path& path, const std::string& text) {
  try {
    const json j = json::parse(text);
    lineage l;
    const auto get = [&](const char* key, auto& out) { j.at(key).get_to(out); };
    get("goal", l.goal);
    get("goal_digest", l.goal_digest);
    get("snapshot", l.snapshot);
    get("source_digest", l.source_digest);
    get("code", l.code);
    get("family", l.family);
    get("trial", l.trial);
    get("params", l.params);
    get("seed", l.seed);
    get("journal_seq", l.journal_seq);
    for (const auto& [name, value] : j.at("metrics").items()) // JSON has no NaN: it was written as null
      l.metrics[name] = value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
    return l;
  } catch (const json::exception&) {
    return damaged(path, "this is not a lineage record");
  }
}

struct opened_version {
  model_version version;
  std::string key;
  json files;
};

/// Reads and checks manifest and lineage; the model's own files are verify()'s business.
result<opened_version> open_version(const fs::path& root, const std::string& model, std::uint32_t number) {
  const fs::path folder = folder_name(root, model, number);
  const fs::path manifest_path = folder / manifest_name;
  auto document = read_document(manifest_path);
  if (!document && document.error().code == errc::not_found)
    return damaged(manifest_path, "the manifest of a published version is gone");
  if (!document)
    return std::move(document).error();
  opened_version o;
  try {
    const json body = json::parse(document->body);
    if (body.at("format") != format)
      return error{errc::incompatible_version, "the manifest has format " + body.at("format").dump(), manifest_path.string(),
                   "use a newer Flywheel"};
    if (body.at("model") != model || body.at("version") != number)
      return damaged(manifest_path, "the manifest belongs to " + body.at("model").dump() + " version " + body.at("version").dump());
    body.at("key").get_to(o.key);
    o.version.created = wall_time{body.at("created_ns").get<std::int64_t>()};
    o.files = body.at("files");
    o.version.model = model;
    o.version.version = number;
    o.version.manifest = document->id;
    o.version.folder = folder;
    FLYWHEEL_TRY(const auto text, read_file(folder / lineage_name, 4 * limits::mib));
    if (o.files.at(lineage_name).at("sha256") != digest_of(text).hex())
      return damaged(folder / lineage_name, "the file is damaged: it does not match the checksum in the manifest");
    FLYWHEEL_TRY(o.version.origin, lineage_from_json(folder / lineage_name, text));
  } catch (const json::exception&) {
    return damaged(manifest_path, "the manifest lacks a field");
  }
  return o;
}

result<std::uint32_t> highest_ever(const fs::path& folder) {
  auto document = read_document(folder / counter_name);
  if (!document && document.error().code == errc::not_found)
    return std::uint32_t{0};
  if (!document)
    return std::move(document).error();
  const json body = json::parse(document->body, nullptr, false);
  if (!body.contains("newest") || !body["newest"].is_number_unsigned())
    return damaged(folder / counter_name, "this is not a version counter");
  return body["newest"].get<std::uint32_t>();
}

struct alias_entry {
  std::uint32_t version = 0;
  std::uint64_t epoch = 0;
};

fs::path alias_path(const fs::path& root, const std::string& model, const std::string& alias) {
  return root / model / aliases_name / (alias + ".json");
}

/// not_found if the alias was never set.
result<alias_entry> read_alias(const fs::path& root, const std::string& model, const std::string& alias) {
  const fs::path path = alias_path(root, model, alias);
  FLYWHEEL_TRY(const auto document, read_document(path));
  const json body = json::parse(document.body, nullptr, false);
  try {
    if (body.at("model") != model || body.at("alias") != alias)
      return damaged(path, "the file belongs to another alias");
    return alias_entry{body.at("version").get<std::uint32_t>(), body.at("epoch").get<std::uint64_t>()};
  } catch (const json::exception&) {
    return damaged(path, "the alias lacks a field");
  }
}

std::vector<std::string> models_in(const fs::path& root) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator i{root, code}, end; !code && i != end; i.increment(code))
    if (const auto name = i->path().filename().string(); is_valid_name(name) && i->is_directory(code))
      names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

error no_such_model(const fs::path& root, const std::string& model) {
  const auto names = models_in(root);
  error e{errc::not_found, "no model is called '" + printable(model, 64) + "'"};
  if (const auto near = nearest(model, names); !near.empty())
    e.hint = "did you mean '" + std::string{near} + "'?";
  else
    e.hint = names.empty() ? "no model was published yet" : "there are: " + join(names, ", ").substr(0, 200);
  return e;
}

status check_name(std::string_view what, const std::string& name) {
  if (!is_valid_name(name))
    return error{errc::invalid_argument, std::string{what} + " '" + printable(name, 64) + "' is not usable as a file name", {},
                 "use letters, digits, '-', '_' and '.', at most 64"};
  return success();
}

} // namespace

result<model_registry> model_registry::open(const fs::path& root) {
  std::error_code code;
  fs::create_directories(root, code);
  if (code)
    return error_from_errno(code.value(), "create " + root.string());
  return model_registry{fs::absolute(root).lexically_normal()};
}

result<model_version> model_registry::publish(const std::string& model, const std::string& key, const lineage& origin,
                                              wall_time now, const std::function<status(const fs::path&)>& fill) {
  FLYWHEEL_CHECK(check_name("model", model));
  if (key.empty() || key.size() > 4096 || !is_valid_utf8(key))
    return error{errc::invalid_argument, "a publication needs a key of 1 to 4096 bytes of UTF-8"};
  const fs::path folder = root_ / model;
  std::error_code code;
  fs::create_directories(folder, code);
  if (code)
    return error_from_errno(code.value(), "create " + folder.string());
  FLYWHEEL_TRY(const auto lock, lock_model(folder));
  FLYWHEEL_TRY(const auto swept, sweep_temporaries(folder)); // of publishers that died: we hold the lock
  static_cast<void>(swept);

  // The key lies inside the version, so it becomes durable in the same rename: there is no moment with one and not the other.
  FLYWHEEL_TRY(const auto versions, versions_in(folder));
  for (const auto v : versions) {
    FLYWHEEL_TRY(auto existing, open_version(root_, model, v)); // a damaged one might hold the key: refuse rather than repeat
    if (existing.key == key)
      return std::move(existing.version);
  }
  FLYWHEEL_TRY(const auto highest, highest_ever(folder));
  const std::uint32_t last = std::max(highest, versions.empty() ? 0U : versions.back());
  if (last == std::numeric_limits<std::uint32_t>::max())
    return error{errc::too_large, "the versions of " + model + " are used up"};
  const std::uint32_t number = last + 1;

  const auto write = [&](const fs::path& temporary) -> status {
    FLYWHEEL_CHECK(fill(temporary));
    for (const char* reserved : {manifest_name, lineage_name})
      if (fs::exists(temporary / reserved))
        return error{errc::invalid_argument, std::string{"a model may not bring its own "} + reserved};
    try {
      FLYWHEEL_CHECK(publish_file(temporary / lineage_name, lineage_to_json(origin).dump(2) + "\n"));
      FLYWHEEL_TRY(const json files, hash_files(temporary, manifest_name));
      return publish_file(temporary / manifest_name, seal_document({{"format", format},
                                                                   {"model", model},
                                                                   {"version", number},
                                                                   {"key", key},
                                                                   {"created_ns", now.ns},
                                                                   {"files", files}}));
    } catch (const json::exception& e) { // text that is not UTF-8
      return error{errc::invalid_argument, std::string{"the lineage cannot be written as JSON: "} + e.what()};
    }
  };
  FLYWHEEL_CHECK(sync_folder(root_)); // the model's folder may be new
  FLYWHEEL_CHECK(publish_folder(folder_name(root_, model, number), write));
  FLYWHEEL_CHECK(publish_file(folder / counter_name, seal_document({{"newest", number}})));
  FLYWHEEL_TRY(auto published, open_version(root_, model, number));
  return std::move(published.version);
}

result<std::vector<model_version>> model_registry::list(const std::string& model, std::vector<error>* damage) const {
  std::vector<model_version> all;
  for (const auto& name : model.empty() ? models_in(root_) : std::vector<std::string>{model}) {
    FLYWHEEL_CHECK(check_name("model", name));
    FLYWHEEL_TRY(const auto versions, versions_in(root_ / name));
    for (const auto v : versions) {
      auto opened = open_version(root_, name, v);
      if (opened)
        all.push_back(std::move(opened->version));
      else if (damage != nullptr)
        damage->push_back(std::move(opened).error());
      else
        return std::move(opened).error();
    }
  }
  return all;
}

result<model_version> model_registry::find(const std::string& reference) const {
  const auto slash = reference.find('/');
  const auto at = reference.find('@');
  const std::string model = reference.substr(0, std::min(slash, at));
  FLYWHEEL_CHECK(check_name("model", model));
  FLYWHEEL_TRY(const auto versions, versions_in(root_ / model));
  if (versions.empty())
    return no_such_model(root_, model);
  std::uint32_t number = 0;
  if (slash != std::string::npos) {
    std::string_view text = std::string_view{reference}.substr(slash + 1);
    number = version_of(text).value_or(version_of("v" + std::string{text}).value_or(0));
    if (!std::binary_search(versions.begin(), versions.end(), number)) {
      return error{errc::not_found, "there is no version '" + printable(text, 40) + "' of " + model, {},
                   "the newest is " + model + "/v" + std::to_string(versions.back())};
    }
  } else if (at != std::string::npos) {
    FLYWHEEL_TRY(number, alias(model, reference.substr(at + 1)));
  } else {
    const auto champion = alias(model, "champion");
    if (!champion && champion.error().code != errc::not_found)
      return champion.error();
    number = champion ? *champion : versions.back();
  }
  FLYWHEEL_TRY(auto found, open_version(root_, model, number));
  return std::move(found.version);
}

status model_registry::verify(const model_version& v) const {
  FLYWHEEL_TRY(const auto opened, open_version(root_, v.model, v.version));
  if (opened.version.manifest != v.manifest)
    return damaged(opened.version.folder / manifest_name, "the manifest is another one than was published");
  return check_files(opened.version.folder, manifest_name, opened.files);
}

status model_registry::set_alias(const std::string& model, const std::string& alias, std::uint32_t version,
                                 std::uint64_t epoch) {
  FLYWHEEL_CHECK(check_name("model", model));
  FLYWHEEL_CHECK(check_name("alias", alias));
  std::error_code code;
  if (!fs::is_directory(root_ / model, code))
    return no_such_model(root_, model);
  FLYWHEEL_TRY(const auto lock, lock_model(root_ / model));
  if (version != 0) {
    FLYWHEEL_TRY(const auto versions, versions_in(root_ / model));
    if (!std::binary_search(versions.begin(), versions.end(), version))
      return error{errc::not_found, "there is no version v" + std::to_string(version) + " of " + model};
    FLYWHEEL_TRY(const auto target, open_version(root_, model, version)); // never point at a damaged version
    static_cast<void>(target);
  }
  const auto stored = read_alias(root_, model, alias);
  if (!stored && stored.error().code != errc::not_found)
    return stored.error();
  if (stored && epoch < stored->epoch)
    return error{errc::stale_epoch, model + "@" + alias + " was set in epoch " + std::to_string(stored->epoch) +
                                        ", this is epoch " + std::to_string(epoch)};
  if (stored && stored->version == version && stored->epoch == epoch)
    return success();
  fs::create_directories(root_ / model / aliases_name, code);
  if (code)
    return error_from_errno(code.value(), "create " + (root_ / model / aliases_name).string());
  FLYWHEEL_CHECK(sync_folder(root_ / model));
  return publish_file(alias_path(root_, model, alias),
                      seal_document({{"model", model}, {"alias", alias}, {"version", version}, {"epoch", epoch}}));
}

result<std::uint32_t> model_registry::alias(const std::string& model, const std::string& alias) const {
  FLYWHEEL_CHECK(check_name("model", model));
  FLYWHEEL_CHECK(check_name("alias", alias));
  const auto stored = read_alias(root_, model, alias);
  if (stored && stored->version != 0)
    return stored->version;
  if (!stored && stored.error().code != errc::not_found)
    return stored.error();
  std::vector<std::string> names;
  for (const auto& [name, version] : aliases(model))
    names.push_back(name);
  error e{errc::not_found, model + " has no alias '" + alias + "'"};
  if (const auto near = nearest(alias, names); !near.empty())
    e.hint = "did you mean '" + std::string{near} + "'?";
  else
    e.hint = names.empty() ? "it has none yet" : "it has: " + join(names, ", ");
  return e;
}

std::map<std::string, std::uint32_t> model_registry::aliases(const std::string& model) const {
  std::map<std::string, std::uint32_t> all;
  if (!is_valid_name(model))
    return all;
  std::error_code code;
  for (fs::directory_iterator i{root_ / model / aliases_name, code}, end; !code && i != end; i.increment(code)) {
    if (i->path().extension() != ".json" || !is_valid_name(i->path().stem().string()))
      continue;
    const auto name = i->path().stem().string();
    if (const auto entry = read_alias(root_, model, name); entry && entry->version != 0)
      all[name] = entry->version;
  }
  return all;
}

} // namespace flywheel
