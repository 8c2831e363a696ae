#pragma once
// What the head's file server does for a node that asks, without the network: reads what the node's lease lets it read, takes what it lets it
// write, and publishes only under a lease that still holds (I5, I6). What was sent stands beside its place under a temporary name until it is
// whole, so a broken connection goes on where it was, and a killed node leaves nothing that counts.

#include "cluster/transfer/folder_walk.hpp"
#include "cluster/transfer/grant_book.hpp"

#include <map>
#include <memory>

namespace flywheel::transfer {

struct desk_rule {
  std::uint64_t upload_bytes_max = std::uint64_t{256} << 30; ///< under one lease: a node gone mad does not fill the head's disk for ever
};

/// One thread at a time.
class file_desk {
public:
  /// `stop` is asked while a large file is checked: true ends that with `interrupted`.
  explicit file_desk(std::shared_ptr<const grant_book> book, desk_rule rule = {}, std::function<bool()> stop = {})
      : book_(std::move(book)), rule_(rule), stop_(std::move(stop)) {}
  /// Never fails otherwise than in the reply. `bytes` of the reply lies in the desk until the next call. Errors name the file.
  reply carry_out(const std::string& node, const request& r);

private:
  result<reply> list(const granted_root& root, const request& r);
  result<reply> read(const granted_root& root, const request& r);
  result<reply> begin(const granted_root& root, const request& r);
  result<reply> put(const granted_root& root, const request& r);
  result<reply> publish(const std::string& node, const granted_root& root, const request& r);
  result<reply> remove(const std::string& node, const granted_root& root, const request& r);
  result<reply> finish(const std::string& node, const granted_root& root, const request& r);
  /// Where files of the root are put: the state folder itself, or the folder that will be the result.
  result<file_handle> open_target(const granted_root& root, std::uint64_t lease, bool make) const;
  result<digest> digest_of_open(int descriptor, const file_state& state, const std::string& name);
  result<std::vector<file_entry>> entries(int folder, std::string_view behind, std::size_t bytes_max, bool& more);

  std::shared_ptr<const grant_book> book_;
  desk_rule rule_;
  std::function<bool()> stop_;
  std::string buffer_;
  std::map<file_state, digest> digests_;               ///< of files that have not changed since
  std::map<std::uint64_t, std::uint64_t> uploaded_;    ///< bytes by lease
};

} // namespace flywheel::transfer
