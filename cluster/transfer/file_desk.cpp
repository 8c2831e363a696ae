#include "cluster/transfer/file_desk.hpp"

#include "cluster/base/text.hpp"

#include <cerrno>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel::transfer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t listing_bytes_max = std::size_t{512} << 10;
constexpr std::size_t digests_max = 65'536, leases_max = 16'384;

/// Of one lease: a later one's files are not mixed with those of one that was cut off.
std::string temporary_of(std::string_view name, std::uint64_t lease) { return std::string{name} + ".tmp-put-" + std::to_string(lease); }

/// Removes whatever lies there, without following links.
void remove_tree(int folder, const std::string& name) {
  std::error_code ignored;
  fs::remove_all(fs::path{"/proc/self/fd"} / std::to_string(folder) / name, ignored);
}

/// What leases that are over have left in `folder`: temporary files, at any depth; and of `only`, if that is given, nothing else.
void sweep(int folder, std::uint64_t lease, const std::string& only) {
  std::error_code code;
  const auto own = ".tmp-put-" + std::to_string(lease);
  std::vector<fs::path> old;
  for (fs::recursive_directory_iterator i{fs::path{"/proc/self/fd"} / std::to_string(folder) / ".", code}, end; !code && i != end; i.increment(code)) {
    const auto name = i->path().filename().string();
    if (!only.empty())
      i.disable_recursion_pending();
    if (name.find(".tmp-put-") == std::string::npos || name.ends_with(own) || (!only.empty() && !name.starts_with(only + ".tmp-put-")))
      continue;
    i.disable_recursion_pending();
    old.push_back(i->path());
  }
  for (const auto& path : old)
    fs::remove_all(path, code);
}

error at_file(error e, const std::string& name) {
  if (e.where.empty())
    e.where = printable(name);
  return e;
}

status sync_folders(int folder) {
  FLYWHEEL_TRY(const auto found, files_beneath(folder));
  std::string last;
  for (const auto& f : found) {
    const std::string in{split_name(f.name).first};
    if (in.empty() || in == last)
      continue;
    last = in;
    FLYWHEEL_TRY(const auto sub, open_folder_beneath(folder, in, false));
    FLYWHEEL_CHECK(sync_file(sub.get(), in));
  }
  return sync_file(folder, "the folder");
}

} // namespace

reply file_desk::carry_out(const std::string& node, const request& r) {
  const auto act = [&]() -> result<reply> {
    FLYWHEEL_TRY(const auto root, book_->find(node, r.lease, r.root));
    const bool writes = r.is != op::list && r.is != op::read;
    if (writes && root.kind == root_kind::input)
      return error{errc::not_allowed, "an input is only read", root.name};
    if (!r.name.empty())
      FLYWHEEL_CHECK(check_name(r.name));
    if (writes && r.is != op::finish && (r.name.empty() || is_temporary(r.name)))
      return error{errc::not_allowed, "not a name for a file of a task", printable(r.name)};
    switch (r.is) {
    case op::list: return list(root, r);
    case op::read: return read(root, r);
    case op::begin: return begin(root, r);
    case op::put: return put(root, r);
    case op::publish: return publish(node, root, r);
    case op::remove: return remove(node, root, r);
    case op::finish: return finish(node, root, r);
    }
    return error{errc::internal, "an operation without a hand"};
  };
  auto done = act();
  reply out = done ? *done : reply{};
  if (!done)
    out.problem = at_file(std::move(done).error(), r.name);
  out.id = r.id;
  return out;
}

result<digest> file_desk::digest_of_open(int descriptor, const file_state& state, const std::string& name) {
  if (const auto i = digests_.find(state); i != digests_.end())
    return i->second;
  FLYWHEEL_TRY(const auto sha, digest_of_descriptor(descriptor, name, stop_));
  FLYWHEEL_TRY(const auto after, state_of(descriptor, name));
  if (after == state) { // else it changes now, and is asked for again
    if (digests_.size() >= digests_max)
      digests_.clear();
    digests_[state] = sha;
  }
  return sha;
}

result<std::vector<file_entry>> file_desk::entries(int folder, std::string_view behind, std::size_t bytes_max, bool& more) {
  FLYWHEEL_TRY(const auto found, files_beneath(folder));
  std::vector<file_entry> all;
  std::size_t bytes = 0;
  for (const auto& f : found) {
    if (!behind.empty() && f.name <= behind)
      continue;
    bytes += f.name.size() + 80;
    if (bytes > bytes_max) {
      more = true;
      break;
    }
    FLYWHEEL_TRY(const auto file, open_beneath(folder, f.name, O_RDONLY));
    FLYWHEEL_TRY(const auto state, state_of(file.get(), f.name));
    FLYWHEEL_TRY(const auto sha, digest_of_open(file.get(), state, f.name));
    all.push_back({f.name, state.size, sha});
  }
  return all;
}

result<reply> file_desk::list(const granted_root& root, const request& r) {
  reply out;
  std::vector<file_entry> files;
  if (root.kind == root_kind::input) {
    const auto path = root.folder / root.name;
    std::error_code code;
    if (fs::is_directory(path, code)) {
      FLYWHEEL_TRY(const auto folder, open_folder(path));
      FLYWHEEL_TRY(files, entries(folder.get(), r.name, listing_bytes_max, out.more));
    } else {
      FLYWHEEL_TRY(const auto file, open_regular_file(path));
      FLYWHEEL_TRY(const auto state, state_of(file.get(), root.name));
      FLYWHEEL_TRY(const auto sha, digest_of_open(file.get(), state, root.name));
      files.push_back({"", state.size, sha});
      out.size = 1; // the root is a file
    }
  } else {
    FLYWHEEL_TRY(const auto folder, open_folder(root.folder));
    if (r.name.empty())
      sweep(folder.get(), r.lease, root.name);
    auto own = open_folder_beneath(folder.get(), root.name, false);
    if (!own && own.error().code != errc::not_found)
      return std::move(own).error();
    if (own) {
      if (r.name.empty())
        sweep(own->get(), r.lease, {});
      FLYWHEEL_TRY(files, entries(own->get(), r.name, listing_bytes_max, out.more));
    }
  }
  buffer_ = encode(files);
  out.bytes = buffer_;
  return out;
}

result<reply> file_desk::read(const granted_root& root, const request& r) {
  if (r.size > chunk_bytes_max)
    return error{errc::too_large, "at most " + format_bytes(chunk_bytes_max) + " at once"};
  file_handle file;
  if (r.name.empty()) {
    if (root.kind != root_kind::input)
      return error{errc::not_allowed, "only an input is a file itself"};
    FLYWHEEL_TRY(file, open_regular_file(root.folder / root.name));
  } else {
    file_handle folder;
    if (root.kind == root_kind::input) {
      FLYWHEEL_TRY(folder, open_folder(root.folder / root.name));
    } else {
      FLYWHEEL_TRY(const auto above, open_folder(root.folder));
      FLYWHEEL_TRY(folder, open_folder_beneath(above.get(), root.name, false));
    }
    FLYWHEEL_TRY(file, open_beneath(folder.get(), r.name, O_RDONLY));
  }
  FLYWHEEL_TRY(const auto state, state_of(file.get(), printable(r.name)));
  buffer_.resize(static_cast<std::size_t>(r.size));
  std::size_t filled = 0;
  while (filled < buffer_.size() && r.offset < file_bytes_max) {
    const auto got = ::pread(file.get(), buffer_.data() + filled, buffer_.size() - filled, static_cast<off_t>(r.offset + filled));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return error_from_errno(errno, "read");
    if (got == 0)
      break;
    filled += static_cast<std::size_t>(got);
  }
  buffer_.resize(filled);
  reply out;
  out.offset = r.offset;
  out.size = state.size;
  out.bytes = buffer_;
  return out;
}

result<file_handle> file_desk::open_target(const granted_root& root, std::uint64_t lease, bool make) const {
  FLYWHEEL_TRY(const auto folder, open_folder(root.folder));
  return open_folder_beneath(folder.get(), root.kind == root_kind::state ? root.name : temporary_of(root.name, lease), make);
}

result<reply> file_desk::begin(const granted_root& root, const request& r) {
  if (r.size > file_bytes_max)
    return error{errc::too_large, "a file of " + format_bytes(r.size)};
  FLYWHEEL_TRY(const auto target, open_target(root, r.lease, true));
  FLYWHEEL_TRY(const auto file, open_beneath(target.get(), temporary_of(r.name, r.lease), O_RDWR | O_CREAT));
  FLYWHEEL_TRY(auto state, state_of(file.get(), r.name));
  if (state.size > r.size) { // of another state of the file
    if (::ftruncate(file.get(), 0) != 0)
      return error_from_errno(errno, "truncate");
    state.size = 0;
  }
  reply out;
  out.offset = state.size;
  return out;
}

result<reply> file_desk::put(const granted_root& root, const request& r) {
  FLYWHEEL_TRY(const auto target, open_target(root, r.lease, false));
  const auto temporary = temporary_of(r.name, r.lease);
  FLYWHEEL_TRY(const auto file, open_beneath(target.get(), temporary, O_RDWR));
  FLYWHEEL_TRY(const auto state, state_of(file.get(), r.name));
  reply out;
  out.offset = r.offset + r.bytes.size();
  if (state.size == out.offset && !r.bytes.empty())
    return out; // told a second time
  if (state.size != r.offset)
    return error{errc::protocol_violation, std::to_string(state.size) + " bytes of it are there, and these belong at " + std::to_string(r.offset)};
  if (uploaded_.size() >= leases_max)
    uploaded_.clear();
  auto& sent = uploaded_[r.lease];
  if (sent + r.bytes.size() > rule_.upload_bytes_max || out.offset > file_bytes_max)
    return error{errc::too_large, "more than " + format_bytes(rule_.upload_bytes_max) + " were brought under one lease"};
  sent += r.bytes.size();
  if (::lseek(file.get(), static_cast<off_t>(r.offset), SEEK_SET) < 0)
    return error_from_errno(errno, "seek");
  if (auto ok = write_all(file.get(), r.bytes, "what node sent"); !ok) { // a full disk gets its space back
    remove_tree(target.get(), temporary);
    auto why = std::move(ok).error();
    why.what = "the head cannot write it: " + why.what;
    return why;
  }
  return out;
}

result<reply> file_desk::publish(const std::string& node, const granted_root& root, const request& r) {
  FLYWHEEL_TRY(const auto target, open_target(root, r.lease, false));
  const auto temporary = temporary_of(r.name, r.lease);
  const auto file = open_beneath(target.get(), temporary, O_RDWR);
  if (!file && file.error().code == errc::not_found) { // told a second time?
    FLYWHEEL_TRY(const auto there, open_beneath(target.get(), r.name, O_RDONLY));
    FLYWHEEL_TRY(const auto state, state_of(there.get(), r.name));
    FLYWHEEL_TRY(const auto sha, digest_of_open(there.get(), state, r.name));
    if (sha != r.sha256)
      return error{errc::checksum_mismatch, "nothing was sent that could be published, and what is there is another file"};
    return reply{};
  }
  if (!file)
    return file.error();
  FLYWHEEL_TRY(const auto state, state_of(file->get(), r.name));
  FLYWHEEL_TRY(const auto sha, digest_of_descriptor(file->get(), r.name, stop_));
  if (state.size != r.size || sha != r.sha256) {
    remove_tree(target.get(), temporary);
    return error{errc::checksum_mismatch, "what arrived (" + std::to_string(state.size) + " bytes) is not what was announced (" + std::to_string(r.size) + " bytes)"};
  }
  FLYWHEEL_CHECK(sync_file(file->get(), r.name));
  const auto [sub, last] = split_name(r.name);
  file_handle in;
  if (!sub.empty()) {
    FLYWHEEL_TRY(in, open_folder_beneath(target.get(), sub, false));
  }
  const int folder = sub.empty() ? target.get() : in.get();
  FLYWHEEL_CHECK(book_->while_held(node, r.lease, [&]() -> status {
    if (::renameat(folder, temporary_of(last, r.lease).c_str(), folder, std::string{last}.c_str()) != 0)
      return error_from_errno(errno, "rename to its name");
    return success();
  }));
  FLYWHEEL_CHECK(sync_file(folder, "the folder"));
  return reply{};
}

result<reply> file_desk::remove(const std::string& node, const granted_root& root, const request& r) {
  if (root.kind != root_kind::state)
    return error{errc::not_allowed, "only files of a state folder are removed"};
  FLYWHEEL_TRY(const auto target, open_target(root, r.lease, false));
  const auto [sub, last] = split_name(r.name);
  file_handle in;
  if (!sub.empty()) {
    FLYWHEEL_TRY(in, open_folder_beneath(target.get(), sub, false));
  }
  FLYWHEEL_CHECK(book_->while_held(node, r.lease, [&]() -> status {
    if (::unlinkat(sub.empty() ? target.get() : in.get(), std::string{last}.c_str(), 0) != 0 && errno != ENOENT)
      return error_from_errno(errno, "remove");
    return success();
  }));
  return reply{};
}

result<reply> file_desk::finish(const std::string& node, const granted_root& root, const request& r) {
  if (root.kind != root_kind::result || !r.name.empty())
    return error{errc::not_allowed, "only a result is finished"};
  FLYWHEEL_TRY(const auto above, open_folder(root.folder));
  const auto is_it = [&](int folder) -> result<bool> {
    bool more = false;
    FLYWHEEL_TRY(const auto files, entries(folder, {}, SIZE_MAX, more));
    return files.size() == r.size && digest_of(files) == r.sha256;
  };
  const auto staged = temporary_of(root.name, r.lease);
  const auto there = open_folder_beneath(above.get(), root.name, false);
  if (!there && there.error().code != errc::not_found)
    return there.error();
  bool same = false;
  if (there) {
    FLYWHEEL_TRY(same, is_it(there->get()));
  }
  if (same) { // told a second time, or another life of the task came this far
    remove_tree(above.get(), staged);
    return reply{};
  }
  FLYWHEEL_TRY(const auto target, open_folder_beneath(above.get(), staged, false));
  FLYWHEEL_TRY(const bool whole, is_it(target.get()));
  if (!whole) {
    remove_tree(above.get(), staged);
    return error{errc::checksum_mismatch, "the files that arrived are not those that were announced", root.name};
  }
  FLYWHEEL_CHECK(sync_folders(target.get()));
  const auto old = temporary_of(root.name, r.lease) + "-old";
  FLYWHEEL_CHECK(book_->while_held(node, r.lease, [&]() -> status {
    // Another content under this name is what the task itself would have replaced: its only writer is whoever holds the lease.
    if (there && ::renameat(above.get(), root.name.c_str(), above.get(), old.c_str()) != 0)
      return error_from_errno(errno, "rename what was there");
    if (::renameat(above.get(), staged.c_str(), above.get(), root.name.c_str()) != 0)
      return error_from_errno(errno, "rename to its name");
    return success();
  }));
  if (there)
    remove_tree(above.get(), old);
  FLYWHEEL_CHECK(sync_file(above.get(), "the folder"));
  return reply{};
}

} // namespace flywheel::transfer
