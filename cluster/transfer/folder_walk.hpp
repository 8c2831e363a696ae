#pragma once
// Files beneath a folder, by names that others gave: every part is opened by itself and no link is followed, so that neither ".." nor a
// link that somebody put there leads out. Temporary files of who publishes (names with ".tmp-") are not seen.

#include "cluster/content/file.hpp"
#include "cluster/transfer/transfer_format.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>



namespace flywheel::transfer {

/// What tells one state of a file from another.
struct file_state {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t changed_ns = 0;
  auto operator<=>(const file_state&) const = default;
};
/// invalid_argument if it is not a regular file.
result<file_state> state_of(int descriptor, const std::string& name);

struct found_file {
  std::string name;
  file_state state;
};

/// `path` itself, of ours: links on the way are followed.
result<file_handle> open_folder(const std::filesystem::path& path);
/// The folder that `name` (checked as check_name) names beneath `root`; with `make`, it and those on the way are made. not_allowed: a link or
/// a file is in the way. not_found.
result<file_handle> open_folder_beneath(int root, std::string_view name, bool make);
/// The file itself. `flags` as open(2), without O_CREAT the folders must be there. A file that is there must be a regular one.
result<file_handle> open_beneath(int root, std::string_view name, int flags);
/// Every file beneath `root`, in the order of names. not_allowed: a link or a device; too_large: more than files_max.
result<std::vector<found_file>> files_beneath(int root);
/// SHA-256 of the open file from its start to its end. `stop` is asked once a MiB: interrupted.
result<digest> digest_of_descriptor(int descriptor, const std::string& name, const std::function<bool()>& stop = {});
/// The folder and last part of a name: ("a/b", "c") of "a/b/c".
std::pair<std::string_view, std::string_view> split_name(std::string_view name);
/// True for a name that only somebody who is not done yet sees.
bool is_temporary(std::string_view name);

} // namespace flywheel::transfer
