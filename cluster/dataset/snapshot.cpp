#include "cluster/dataset/snapshot.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/dataset/table_format.hpp"

#include <array>

namespace flywheel {

using nlohmann::json;
namespace fs = std::filesystem;

// Found by nlohmann's conversions through their argument, hence outside of the unnamed namespace.
NLOHMANN_JSON_SERIALIZE_ENUM(severity, {{severity::note, "note"}, {severity::warning, "warning"}, {severity::problem, "problem"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(data_finding, kind, level, column, text, advice, left_out)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(class_count, label, rows)

namespace {

constexpr std::uint32_t version = 1;
constexpr std::size_t json_bytes_max = 256 * limits::mib, file_bytes_max = std::size_t{1} << 40;
constexpr std::string_view self_key = "sha256_of_the_rest";

error damaged(const fs::path& file, const error& cause) {
  return {cause.code, cause.what, file.string() + (cause.where.empty() ? "" : ", " + cause.where),
          "remove the snapshot's folder and ingest again"};
}

/// The one gate for nlohmann's exceptions.
template <class F> auto guarded(const std::string& what, F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const json::exception& e) {
    return error{errc::invalid_format, what + ": " + e.what()};
  }
}

result<std::string> read_verified(const fs::path& folder, const snapshot_info& info, const std::string& name) {
  const auto listed = info.files.find(name);
  if (listed == info.files.end())
    return error{errc::invalid_format, "snapshot.json does not list " + name, folder.string()};
  FLYWHEEL_TRY(std::string bytes, read_file(folder / name, file_bytes_max));
  if (digest_of(bytes).hex() != listed->second)
    return error{errc::checksum_mismatch, name, (folder / name).string(),
                 "remove the snapshot's folder and ingest again"};
  return bytes;
}

json info_to_json(const snapshot_info& i) {
  return {{"format", "flywheel snapshot"},
          {"version", version},
          {"name", i.name},
          {"source", {{"path", i.source}, {"sha256", i.source_sha256}, {"bytes", i.source_bytes}}},
          {"contract", {{"sha256", i.contract_sha256}, {"inferred", i.contract_inferred}}},
          {"target", i.target},
          {"task", i.task},
          {"classes", i.classes},
          {"features", i.features},
          {"split", {{"strategy", i.split}, {"train_rows", i.train_rows}, {"holdout_rows", i.holdout_rows}}},
          {"holdout_sha256", i.holdout_sha256},
          {"sealed_for", i.sealed_for},
          {"created", i.created},
          {"files", i.files}};
}

} // namespace

std::string_view name_of(severity s) noexcept {
  constexpr std::array<std::string_view, 3> names{"note", "warning", "problem"};
  return names[static_cast<std::size_t>(s)];
}

json to_json(const snapshot_report& r) {
  return {{"snapshot", r.snapshot},
          {"folder", r.folder},
          {"reused", r.reused},
          {"contract_inferred", r.contract_inferred},
          {"task", r.task},
          {"bytes", r.bytes},
          {"rows_read", r.rows_read},
          {"rows_kept", r.rows_kept},
          {"rows_quarantined", r.rows_quarantined},
          {"train_rows", r.train_rows},
          {"holdout_rows", r.holdout_rows},
          {"quarantined_by_rule", r.quarantined_by_rule},
          {"key_duplicates", r.key_duplicates},
          {"exact_duplicates", r.exact_duplicates},
          {"near_duplicates", r.near_duplicates},
          {"twins_across_split", r.twins_across_split},
          {"classes", r.classes},
          {"features", r.features},
          {"findings", r.findings}};
}

result<snapshot_report> snapshot_report_from_json(const json& j) {
  return guarded("snapshot report", [&]() -> result<snapshot_report> {
    snapshot_report r;
    j.at("snapshot").get_to(r.snapshot);
    j.at("folder").get_to(r.folder);
    j.at("reused").get_to(r.reused);
    j.at("contract_inferred").get_to(r.contract_inferred);
    j.at("task").get_to(r.task);
    j.at("bytes").get_to(r.bytes);
    j.at("rows_read").get_to(r.rows_read);
    j.at("rows_kept").get_to(r.rows_kept);
    j.at("rows_quarantined").get_to(r.rows_quarantined);
    j.at("train_rows").get_to(r.train_rows);
    j.at("holdout_rows").get_to(r.holdout_rows);
    j.at("quarantined_by_rule").get_to(r.quarantined_by_rule);
    j.at("key_duplicates").get_to(r.key_duplicates);
    j.at("exact_duplicates").get_to(r.exact_duplicates);
    j.at("near_duplicates").get_to(r.near_duplicates);
    j.at("twins_across_split").get_to(r.twins_across_split);
    j.at("classes").get_to(r.classes);
    j.at("features").get_to(r.features);
    j.at("findings").get_to(r.findings);
    return r;
  });
}

std::string snapshot_name_of(const snapshot_info& i) {
  hasher h;
  h.field("flywheel snapshot 1").field(i.source_sha256).field(i.contract_sha256).field(i.target).field(i.task);
  h.field(i.split).field(i.train_rows).field(i.holdout_rows).field(i.holdout_sha256);
  for (const auto& feature : i.features)
    h.field(feature);
  for (const auto* file : {"train.fwt", "profile.json", "quarantine.jsonl"}) {
    const auto listed = i.files.find(file);
    h.field(listed == i.files.end() ? "" : listed->second);
  }
  return h.finish().hex();
}

std::string encode_snapshot_info(const snapshot_info& info) {
  json j = info_to_json(info);
  const std::string self = digest_of(j.dump(2)).hex();
  j[std::string{self_key}] = self;
  return j.dump(2) + "\n";
}

result<snapshot_info> decode_snapshot_info(std::string_view bytes) {
  return guarded("snapshot.json", [&]() -> result<snapshot_info> {
    json j = json::parse(bytes, nullptr, false);
    if (j.is_discarded() || !j.is_object())
      return error{errc::checksum_mismatch, "it is not whole JSON"};
    // Compared as bytes too: a changed blank parses to the same values, but is a change.
    const std::string written = j.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
    const auto self = j.find(self_key);
    if (written != bytes || self == j.end() || !self->is_string())
      return error{errc::checksum_mismatch, "its bytes are not as they were written"};
    const std::string claimed = self->get<std::string>();
    j.erase(self);
    if (digest_of(j.dump(2)).hex() != claimed)
      return error{errc::checksum_mismatch, "its content does not match its own digest"};
    if (j.at("format") != "flywheel snapshot")
      return error{errc::invalid_format, "it describes no snapshot"};
    if (j.at("version") != version)
      return error{errc::incompatible_version, "snapshot of version " + j.at("version").dump() + ", this program reads 1"};
    snapshot_info i;
    j.at("name").get_to(i.name);
    j.at("source").at("path").get_to(i.source);
    j.at("source").at("sha256").get_to(i.source_sha256);
    j.at("source").at("bytes").get_to(i.source_bytes);
    j.at("contract").at("sha256").get_to(i.contract_sha256);
    j.at("contract").at("inferred").get_to(i.contract_inferred);
    j.at("target").get_to(i.target);
    j.at("task").get_to(i.task);
    j.at("classes").get_to(i.classes);
    j.at("features").get_to(i.features);
    j.at("split").at("strategy").get_to(i.split);
    j.at("split").at("train_rows").get_to(i.train_rows);
    j.at("split").at("holdout_rows").get_to(i.holdout_rows);
    j.at("holdout_sha256").get_to(i.holdout_sha256);
    j.at("sealed_for").get_to(i.sealed_for);
    j.at("created").get_to(i.created);
    j.at("files").get_to(i.files);
    return i;
  });
}

result<snapshot_info> load_snapshot_info(const fs::path& folder) {
  FLYWHEEL_TRY(const std::string bytes, read_file(folder / "snapshot.json", json_bytes_max));
  auto info = decode_snapshot_info(bytes);
  if (!info)
    return damaged(folder / "snapshot.json", info.error());
  if (snapshot_name_of(*info) != info->name)
    return damaged(folder / "snapshot.json", {errc::checksum_mismatch, "its name is not that of its content"});
  return info;
}

status verify_snapshot(const fs::path& folder) {
  FLYWHEEL_TRY(const auto info, load_snapshot_info(folder));
  for (const auto& [name, sum] : info.files) {
    FLYWHEEL_TRY(const auto found, digest_of_file(folder / name));
    if (found.hex() != sum)
      return error{errc::checksum_mismatch, name, (folder / name).string(),
                   "remove the snapshot's folder and ingest again"};
  }
  return success();
}

result<table> load_train(const fs::path& folder) {
  FLYWHEEL_TRY(const auto info, load_snapshot_info(folder));
  FLYWHEEL_TRY(const auto bytes, read_verified(folder, info, "train.fwt"));
  auto t = decode_table(bytes);
  if (!t)
    return damaged(folder / "train.fwt", t.error());
  return t;
}

result<reference_profile> load_profile(const fs::path& folder) {
  FLYWHEEL_TRY(const auto info, load_snapshot_info(folder));
  FLYWHEEL_TRY(const auto bytes, read_verified(folder, info, "profile.json"));
  return guarded("profile.json", [&]() -> result<reference_profile> { return profile_from_json(json::parse(bytes)); });
}

result<snapshot_report> load_report(const fs::path& folder) {
  FLYWHEEL_TRY(const auto info, load_snapshot_info(folder));
  FLYWHEEL_TRY(const auto bytes, read_verified(folder, info, "report.json"));
  return guarded("report.json", [&]() -> result<snapshot_report> {
    FLYWHEEL_TRY(auto r, snapshot_report_from_json(json::parse(bytes)));
    r.snapshot = info.name; // not known yet when the report was written: the name depends on the other files
    r.folder = folder.string();
    return r;
  });
}

result<table> open_holdout(const fs::path& folder, const seal_private_key& key) {
  FLYWHEEL_TRY(const auto info, load_snapshot_info(folder));
  FLYWHEEL_TRY(const auto sealed, read_verified(folder, info, "holdout.sealed"));
  auto plain = key.open(sealed, info.name);
  if (!plain)
    return damaged(folder / "holdout.sealed", plain.error());
  if (digest_of(*plain).hex() != info.holdout_sha256)
    return damaged(folder / "holdout.sealed", {errc::checksum_mismatch, "the held-out rows are not those of the snapshot"});
  auto t = decode_table(*plain);
  if (!t)
    return damaged(folder / "holdout.sealed", t.error());
  return t;
}

} // namespace flywheel
