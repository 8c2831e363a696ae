#pragma once
// Who may move which files: the keys of the nodes that are in the cluster, and what each lease's task reads and writes. Kept by the
// dispatcher, asked by the file server from its own thread. Nothing is said of keys in errors (I14).

#include "cluster/base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace flywheel::transfer {

enum class root_kind : std::uint8_t { input, state, result };

/// What the task of one lease reads and writes. Roots are numbered: inputs, then state folders, then results.
struct grant {
  std::string node, task;
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path folder;             ///< of the others
  std::vector<std::string> state, results;
};

struct granted_root {
  root_kind kind = root_kind::input;
  std::filesystem::path folder;             ///< in which it lies
  std::string name;                         ///< its own
};

/// Thread-safe.
class grant_book {
public:
  /// `key` is the public key (40 characters) that `node` will show; one that it had before is forgotten.
  void admit(const std::string& node, const std::string& key);
  /// The node is not in the cluster any more, with whatever key.
  void forget(const std::string& node);
  /// Whose key it is, if that node is in the cluster now.
  std::optional<std::string> node_of(const std::string& key) const;

  void put(std::uint64_t lease, grant g);
  /// Takes back every grant that is not `held`. From when this returns nothing is published under those.
  void keep_only(const std::function<bool(std::uint64_t lease, const grant& g)>& held);

  /// The root of that number. stale_epoch: the node has no such lease now. invalid_argument: no such root.
  result<granted_root> find(const std::string& node, std::uint64_t lease, std::uint64_t root) const;
  /// Carries out `act` if the node has the lease, and keeps it from being taken back meanwhile. Short acts only, such as a rename: whoever
  /// takes grants back waits for it.
  status while_held(const std::string& node, std::uint64_t lease, const std::function<status()>& act) const;
  std::size_t size() const;

private:
  /// Null with stale_epoch told by the caller.
  const grant* held(const std::string& node, std::uint64_t lease) const;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> keys_;   ///< by node
  std::map<std::string, std::string> nodes_;  ///< by key
  std::map<std::uint64_t, grant> grants_;
};

} // namespace flywheel::transfer
