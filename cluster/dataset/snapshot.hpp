#pragma once
// A snapshot: what the data steward publishes and everybody else reads. A folder named by its content:
//   snapshot.json     lineage, counts, split, columns, the digest of every other file; carries its own digest
//   train.fwt         the training rows (table_format.hpp)
//   holdout.sealed    the held-out rows, encrypted for the evaluator (cluster/security/sealed_box.hpp)
//   profile.json      reference profile of the training rows
//   quarantine.jsonl  one line per broken rule: row, line, column, rule, value
//   report.json       findings, for people and for `flywheel why`
// Byte by byte in docs/formats/snapshot.md. Every read verifies checksums (I10).

#include "cluster/base/clock.hpp"
#include "cluster/content/digest.hpp"
#include "cluster/dataset/reference_profile.hpp"
#include "cluster/dataset/table.hpp"
#include "cluster/security/sealed_box.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace flywheel {

/// How much a finding matters: `note` is for the record, `warning` wants a look, `problem` changed what is learnt from.
enum class severity : std::uint8_t { note, warning, problem };
std::string_view name_of(severity s) noexcept;

/// Something a person should know about the data.
struct data_finding {
  std::string kind;      ///< "leak" "identifier" "redundant" "all-null" "constant" "spelling" "near-duplicates" ...
  severity level = severity::note;
  std::string column;    ///< may be empty: the table as a whole
  std::string text;      ///< one sentence: what was seen, with numbers
  std::string advice;    ///< one sentence: what was done or what to do; may be empty
  bool left_out = false; ///< the column was left out of the features because of this
  bool operator==(const data_finding&) const = default;
};

struct class_count {
  std::string label;
  std::uint64_t rows = 0;
  bool operator==(const class_count&) const = default;
};

/// What the steward found out; also stored as report.json.
struct snapshot_report {
  std::string snapshot;                ///< the snapshot's name, 64 hexadecimal digits
  std::string folder;                  ///< where it lies
  bool reused = false;                 ///< an equal snapshot existed already and was verified
  bool contract_inferred = false;
  std::string task;                    ///< "binary" "multiclass" "regression"
  std::uint64_t bytes = 0;             ///< of the source file
  std::uint64_t rows_read = 0, rows_kept = 0, rows_quarantined = 0;
  std::uint64_t train_rows = 0, holdout_rows = 0;
  std::map<std::string, std::uint64_t> quarantined_by_rule; ///< rule -> broken how often (a row may break several)
  std::uint64_t key_duplicates = 0;    ///< rows whose key was there before (quarantined)
  std::uint64_t exact_duplicates = 0;  ///< rows equal to an earlier one in every column but the key (kept)
  std::uint64_t near_duplicates = 0;   ///< rows equal to an earlier one to three digits (kept)
  std::uint64_t twins_across_split = 0;///< held-out rows with an exact twin in the training part
  std::vector<class_count> classes;    ///< of all kept rows; empty for regression
  std::vector<std::string> features;   ///< columns to learn from
  std::vector<data_finding> findings;
};
nlohmann::json to_json(const snapshot_report& r);
result<snapshot_report> snapshot_report_from_json(const nlohmann::json& j);

/// snapshot.json: what a snapshot is made of.
struct snapshot_info {
  std::string name;                    ///< the digest of the content, hexadecimal
  std::string source;                  ///< path of the source file when it was read
  std::string source_sha256;
  std::uint64_t source_bytes = 0;
  std::string contract_sha256;
  bool contract_inferred = false;
  std::string target, task;
  std::vector<std::string> classes;    ///< labels in order of first appearance in the training part
  std::vector<std::string> features;
  std::string split;                   ///< strategy
  std::uint64_t train_rows = 0, holdout_rows = 0;
  std::string holdout_sha256;          ///< of the held-out table before sealing
  std::string sealed_for;              ///< the evaluator's public key
  std::string created;                 ///< ISO 8601
  std::map<std::string, std::string> files; ///< name -> SHA-256
};
/// The bytes of snapshot.json, with their own digest inside.
std::string encode_snapshot_info(const snapshot_info& info);
/// checksum_mismatch if any byte was altered, invalid_format, incompatible_version.
result<snapshot_info> decode_snapshot_info(std::string_view bytes);
/// The name a snapshot gets: from content only, neither paths nor times nor keys.
std::string snapshot_name_of(const snapshot_info& info);

/// Reads and verifies snapshot.json and that `folder` bears the snapshot's name.
result<snapshot_info> load_snapshot_info(const std::filesystem::path& folder);
/// Every file of the snapshot against its digest; names the first damaged one.
status verify_snapshot(const std::filesystem::path& folder);
/// The training rows.
result<table> load_train(const std::filesystem::path& folder);
result<reference_profile> load_profile(const std::filesystem::path& folder);
result<snapshot_report> load_report(const std::filesystem::path& folder);
/// The held-out rows; only whoever holds the evaluator's key can. Categories are the held-out part's own: the training
/// part's, in its order, and after them those that only occur here.
result<table> open_holdout(const std::filesystem::path& folder, const seal_private_key& key);

} // namespace flywheel
