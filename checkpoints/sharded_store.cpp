#include "checkpoints/sharded_store.hpp"

#include "checkpoints/sealed_folder.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
constexpr const char *attempt_name = "attempt.json", *lock_name = "lock", *damaged_suffix = ".damaged";

/// Held until the handle is closed; released by the kernel if we die.
result<file_handle> lock_root(const fs::path& root) {
  FLYWHEEL_TRY(auto file, open_file(root / lock_name, O_RDWR | O_CREAT));
  while (::flock(file.get(), LOCK_EX) != 0)
    if (errno != EINTR)
      return error_from_errno(errno, "lock " + (root / lock_name).string());
  return file;
}

/// 0 if no attempt has begun.
result<std::uint64_t> newest_attempt(const fs::path& root) {
  auto document = read_document(root / attempt_name);
  if (!document && document.error().code == errc::not_found)
    return std::uint64_t{0};
  if (!document) {
    auto e = std::move(document).error();
    e.hint = "stop all ranks and remove it; the names of the folders tell the attempts";
    return e;
  }
  const auto body = nlohmann::json::parse(document->body, nullptr, false);
  if (!body.is_object() || !body.contains("attempt") || !body["attempt"].is_number_unsigned())
    return error{errc::checksum_mismatch, "this is no attempt counter", (root / attempt_name).string()};
  return body["attempt"].get<std::uint64_t>();
}

error stale(std::uint64_t mine, std::uint64_t newest, const fs::path& root) {
  return error{errc::stale_epoch, "attempt " + std::to_string(newest) + " has begun, this is attempt " + std::to_string(mine), root.string(),
               "stop: its ranks train now"};
}

struct present_folder {
  checkpoint_id id;
  bool published = false;
};

result<std::vector<present_folder>> folders_in(const fs::path& root) {
  std::vector<present_folder> all;
  std::error_code code;
  for (fs::directory_iterator at{root, code}, end; !code && at != end; at.increment(code))
    if (const auto id = checkpoint_id::from_folder_name(at->path().filename().string())) {
      std::error_code ignored;
      all.push_back({*id, fs::exists(at->path() / manifest_file_name, ignored)});
    }
  if (code && code != std::errc::no_such_file_or_directory)
    return error_from_errno(code.value(), "listing checkpoints", root.string());
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return all;
}

/// The manifest goes first: killed in between, the rest is no damaged checkpoint but none.
void remove_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  fs::remove(folder / manifest_file_name, ignored);
  fs::remove_all(folder, ignored);
}

/// Temporary files of attempts that were killed as they began. Called with the lock held, so that they are nobody's.
void sweep_counters(const fs::path& root) {
  std::vector<fs::path> leftovers;
  std::error_code code;
  for (fs::directory_iterator at{root, code}, end; !code && at != end; at.increment(code))
    if (at->path().filename().string().starts_with(std::string{attempt_name} + ".tmp-"))
      leftovers.push_back(at->path());
  for (const auto& path : leftovers)
    fs::remove(path, code);
}

status check_attempt(std::uint64_t attempt) {
  if (attempt == 0 || attempt > 999'999)
    return error{errc::invalid_argument, "attempts are numbered from 1 to 999999, got " + std::to_string(attempt)};
  return success();
}

status make_root(const fs::path& root) {
  std::error_code code;
  fs::create_directories(root, code);
  if (code)
    return error_from_errno(code.value(), "making the checkpoint folder", root.string());
  return success();
}

/// Called with the lock held. What older attempts left unpublished is swept: they cannot publish it any more.
status raise_attempt(const fs::path& root, std::uint64_t attempt) {
  sweep_counters(root);
  FLYWHEEL_CHECK(publish_file(root / attempt_name, seal_document({{"attempt", attempt}})));
  FLYWHEEL_TRY(const auto folders, folders_in(root));
  for (const auto& f : folders)
    if (!f.published && f.id.attempt < attempt)
      remove_checkpoint(root / f.id.folder_name());
  return success();
}

bool is_damage(const error& e) {
  return e.klass() == error_class::damaged || e.code == errc::invalid_format || e.code == errc::not_found || e.code == errc::too_large;
}

} // namespace

result<std::vector<checkpoint_id>> list_sharded(const fs::path& root) {
  FLYWHEEL_TRY(const auto folders, folders_in(root));
  std::vector<checkpoint_id> ids;
  for (const auto& f : folders)
    if (f.published)
      ids.push_back(f.id);
  return ids;
}

result<found_sharded> find_newest_sharded(const fs::path& root) {
  constexpr int looks_max = 10;
  for (int look = 0;; ++look) {
    found_sharded found;
    bool changed = false;
    FLYWHEEL_TRY(const auto ids, list_sharded(root));
    for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
      const auto folder = root / id->folder_name();
      auto opened = sharded_checkpoint::open(folder);
      if (opened) {
        found.newest = std::move(opened).value();
        break;
      }
      if (!is_damage(opened.error()))
        return std::move(opened).error();
      std::error_code ignored;
      changed = changed || !fs::exists(folder / manifest_file_name, ignored);
      found.damaged.push_back(std::move(opened).error());
      found.damaged_ids.push_back(*id);
    }
    // Not damaged, but removed while we looked, because a newer one was published: that one is wanted.
    if (!changed || look == looks_max)
      return found;
  }
}

status set_aside_sharded(const fs::path& root, checkpoint_id id) {
  const auto from = root / id.folder_name();
  auto to = from;
  to += damaged_suffix;
  std::error_code code;
  fs::remove_all(to, code); // an older one of the same name
  fs::rename(from, to, code);
  if (code)
    return error_from_errno(code.value(), "setting aside", from.string());
  return sync_folder(root);
}

result<std::uint64_t> next_attempt(const fs::path& root) {
  FLYWHEEL_TRY(auto newest, newest_attempt(root));
  FLYWHEEL_TRY(const auto folders, folders_in(root)); // the counter may have been removed by a person
  for (const auto& f : folders)
    newest = std::max(newest, f.id.attempt);
  return newest + 1;
}

result<std::uint64_t> take_attempt(const fs::path& root, std::optional<std::uint64_t> after) {
  FLYWHEEL_CHECK(make_root(root));
  FLYWHEEL_TRY(const auto lock, lock_root(root));
  FLYWHEEL_TRY(const auto next, next_attempt(root));
  if (after && *after != next - 1)
    return stale(*after, next - 1, root);
  FLYWHEEL_CHECK(check_attempt(next));
  FLYWHEEL_CHECK(raise_attempt(root, next));
  return next;
}

result<sharded_store> sharded_store::begin(const fs::path& root, std::uint64_t attempt, retention_rule rule) {
  FLYWHEEL_CHECK(check_attempt(attempt));
  FLYWHEEL_CHECK(make_root(root));
  FLYWHEEL_TRY(const auto lock, lock_root(root));
  FLYWHEEL_TRY(const auto newest, newest_attempt(root));
  if (newest > attempt)
    return stale(attempt, newest, root);
  if (newest < attempt)
    FLYWHEEL_CHECK(raise_attempt(root, attempt));
  sharded_store s;
  s.root_ = root;
  s.attempt_ = attempt;
  s.rule_ = rule;
  return s;
}

fs::path sharded_store::folder_of_step(std::uint64_t step) const { return root_ / checkpoint_id{attempt_, step}.folder_name(); }

status sharded_store::write(std::uint64_t step, std::uint32_t rank, std::uint32_t ranks, const std::string& attributes,
                            const shard_layout& layout, const staging_buffer& image, const shard_write_options& options,
                            const std::atomic<bool>& cancelled) const {
  if (rank >= ranks || ranks > ranks_max || step > 999'999'999'999 || !is_valid_utf8(attributes))
    return error{errc::invalid_argument, "rank " + std::to_string(rank) + " of " + std::to_string(ranks) + ", step " + std::to_string(step) +
                                             ": ranks are below 65536, steps have at most 12 digits, attributes are UTF-8"};
  const auto folder = folder_of_step(step);
  std::error_code code;
  if (fs::exists(folder / manifest_file_name, code))
    return error{errc::already_exists, "step " + std::to_string(step) + " was published by this attempt", folder.string(),
                 "published checkpoints never change; save a later step"};
  fs::create_directory(folder, code); // durable with the receipt: publish() syncs the root
  if (code)
    return error_from_errno(code.value(), "making the checkpoint's folder", folder.string());
  shard_receipt receipt{{attempt_, step}, rank, ranks, attributes, {}, layout.parts, layout.placed};
  const auto write_both = [&]() -> status {
    FLYWHEEL_TRY(receipt.shard, write_shard(folder / shard_file_name(rank, ranks), layout, image, receipt.id, rank, ranks, options, cancelled));
    return publish_file(folder / receipt_file_name(rank, ranks), receipt_to_text(receipt));
  };
  auto written = write_both();
  // A newer attempt sweeps what this one left, also under its hands: that is the reason, not the missing file.
  if (!written)
    if (const auto newest = newest_attempt(root_); newest && *newest > attempt_)
      return stale(attempt_, *newest, root_);
  return written;
}

result<bool> sharded_store::publish(std::uint64_t step, std::uint32_t ranks) const {
  const auto folder = folder_of_step(step);
  std::error_code code;
  for (std::uint32_t rank = 0; rank < ranks; ++rank) // the common case, without the lock
    if (!fs::exists(folder / receipt_file_name(rank, ranks), code))
      return fs::exists(folder / manifest_file_name, code);
  FLYWHEEL_TRY(const auto lock, lock_root(root_));
  FLYWHEEL_TRY(const auto newest, newest_attempt(root_));
  if (newest > attempt_)
    return stale(attempt_, newest, root_);
  if (fs::exists(folder / manifest_file_name, code))
    return true;
  std::vector<shard_receipt> receipts;
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    FLYWHEEL_TRY(auto r, read_receipt(folder / receipt_file_name(rank, ranks)));
    receipts.push_back(std::move(r));
  }
  FLYWHEEL_TRY(const auto m, make_manifest(std::move(receipts)));
  if (m.id != checkpoint_id{attempt_, step})
    return error{errc::checksum_mismatch, "the receipts belong to another checkpoint", folder.string()};
  FLYWHEEL_CHECK(sync_folder(root_));
  FLYWHEEL_CHECK(publish_file(folder / manifest_file_name, manifest_to_text(m)));
  for (std::uint32_t rank = 0; rank < ranks; ++rank) // the manifest says it all
    fs::remove(folder / receipt_file_name(rank, ranks), code);
  remove_old();
  return true;
}

/// Failing to remove is no error. Called with the lock held.
void sharded_store::remove_old() const {
  const auto folders = folders_in(root_);
  if (!folders)
    return;
  std::vector<checkpoint_id> published;
  for (const auto& f : *folders)
    if (f.published)
      published.push_back(f.id);
  for (const auto& id : checkpoints_to_remove(rule_, published))
    remove_checkpoint(root_ / id.folder_name());
  // Ranks save in order: what is unpublished and older than the newest will not be completed.
  for (const auto& f : *folders)
    if (!f.published && !published.empty() && f.id < published.back())
      remove_checkpoint(root_ / f.id.folder_name());
}

} // namespace flywheel
